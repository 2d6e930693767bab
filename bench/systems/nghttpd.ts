import { availableParallelism } from "node:os";
import { FILE_SCENARIOS } from "../scenario-names.ts";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer } from "./system.ts";

/** nghttp2's own server, in C, from Debian's `nghttp2-server`: files over HTTP/2. The yardstick for reads. */
export const nghttpd: Peer = {
  name: "nghttpd",
  program: "nghttpd",
  system: (programPath) => ({
    name: "nghttpd",
    durability: "read only",
    scenarios: FILE_SCENARIOS,
    async start(options) {
      const port = await freePort();
      const threads = `${availableParallelism()}`;
      const files = ["--no-tls", "--address", "127.0.0.1", "--htdocs", options.directory, "--workers", threads];
      return await PeerProcess.start([programPath, ...files, `${port}`], port, options, options.directory);
    },
  }),
};
