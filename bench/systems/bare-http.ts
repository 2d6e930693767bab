import { fileURLToPath } from "node:url";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { System } from "./system.ts";

const ENTRY = fileURLToPath(new URL("../bare-http-server.ts", import.meta.url));

/** `node:http` with nothing behind it: the most that a server over it can reach. */
export const bareHttp: System = {
  name: "node:http",
  durability: "none",
  scenarios: [],
  async start(options) {
    const port = await freePort();
    const command = [process.execPath, "--disable-warning=ExperimentalWarning", ENTRY, `${port}`];
    return await PeerProcess.start(command, port, options);
  },
};
