import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** In place of systemd's program: notes what it is called with, an argument a line and an empty line behind each call. */
const PROGRAM = `#!/bin/sh
for argument; do printf '%s\\n' "$argument"; done >> "$NOTIFY_SOCKET"
echo >> "$NOTIFY_SOCKET"
`;

/** A service manager that tests can ask what it was told. */
export class ToldManager {
  readonly environment: { readonly NOTIFY_SOCKET: string; readonly PATH: string };
  readonly #log: string;

  constructor(directory: string) {
    this.#log = join(directory, "told");
    writeFileSync(this.#log, "");
    const program = join(directory, "systemd-notify");
    writeFileSync(program, PROGRAM);
    chmodSync(program, 0o755);
    this.environment = { NOTIFY_SOCKET: this.#log, PATH: [directory, process.env["PATH"]].join(delimiter) };
  }

  /** Calls so far, each with its arguments. */
  get told(): string[][] {
    const calls = readFileSync(this.#log, "utf8").split("\n\n");
    return calls.slice(0, -1).map((call) => call.split("\n"));
  }

  /** Resolves once it was told so. */
  async untilTold(assignment: string): Promise<void> {
    while (!this.told.flat().includes(assignment)) await delay(5);
  }
}
