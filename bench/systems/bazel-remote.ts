import { REAPI_SCENARIOS } from "../scenario-names.ts";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer } from "./system.ts";

/**
 * bazel-remote, in Go: blobs as files, stored as they are, as ours (it syncs files only where it compresses them).
 * Written from its documentation and source: its program could not be had yet (README).
 */
export const bazelRemote: Peer = {
  name: "bazel-remote",
  program: "bazel-remote",
  system: (programPath) => ({
    name: "bazel-remote",
    durability: "page cache",
    scenarios: REAPI_SCENARIOS,
    async start(options) {
      const [port, httpPort] = [await freePort(), await freePort()];
      const command = [
        programPath,
        "--dir",
        options.directory,
        "--max_size",
        `${Math.ceil(options.maxBytes / 2 ** 30)}`,
        "--storage_mode",
        "uncompressed",
        "--grpc_address",
        `127.0.0.1:${port}`,
        "--http_address",
        `127.0.0.1:${httpPort}`,
      ];
      return await PeerProcess.start(command, port, options);
    },
  }),
};
