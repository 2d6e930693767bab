import { ServerProcess } from "../../test/support/server-process.ts";
import { SCENARIO_NAMES } from "../scenario-names.ts";
import type { RunningSystem, System } from "./system.ts";

export interface KuraSettings {
  readonly durability: "commit" | "relaxed";
  /** The server's `--grpc-transport`. */
  readonly transport: string;
  /** Further command-line arguments. */
  readonly extraArguments?: readonly string[];
}

const TRANSPORT_DEFAULT = "native";

export function kura({ durability, transport, extraArguments = [] }: KuraSettings): System {
  return {
    name: transport === TRANSPORT_DEFAULT ? "kura" : `kura ${transport}`,
    durability,
    scenarios: SCENARIO_NAMES,
    start: async ({ directory, maxBytes, wrapper }): Promise<RunningSystem> =>
      await ServerProcess.start({
        directory,
        durability,
        maxSize: `${maxBytes / 2 ** 20}MiB`,
        extraArguments: ["--grpc-transport", transport, ...extraArguments],
        wrapper,
      }),
  };
}
