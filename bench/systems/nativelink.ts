import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { REAPI_SCENARIOS } from "../scenario-names.ts";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer, SystemOptions } from "./system.ts";

/**
 * NativeLink, in Rust: blobs as files, checked for their size and hash as ours.
 * Written from its documentation: its program could not be had yet (README).
 */
export const nativelink: Peer = {
  name: "nativelink",
  program: "nativelink",
  system: (programPath) => ({
    name: "nativelink",
    durability: "not known",
    scenarios: REAPI_SCENARIOS,
    async start(options) {
      const port = await freePort();
      const configPath = join(options.directory, "nativelink.json5");
      writeFileSync(configPath, JSON.stringify(config(options, port)));
      return await PeerProcess.start([programPath, configPath], port, options);
    },
  }),
};

/** JSON is JSON5, too. */
function config(options: SystemOptions, port: number): object {
  const files = (name: string): object => ({
    filesystem: {
      content_path: join(options.directory, name),
      temp_path: join(options.directory, `${name}-temporary`),
      eviction_policy: { max_bytes: options.maxBytes },
    },
  });
  const instance = { instance_name: "" };
  return {
    stores: [
      { name: "CAS", verify: { backend: files("cas"), verify_size: true, verify_hash: true } },
      {
        name: "AC",
        completeness_checking: { backend: files("ac"), cas_store: { ref_store: { name: "CAS" } } },
      },
    ],
    servers: [
      {
        listener: { http: { socket_address: `127.0.0.1:${port}` } },
        services: {
          cas: [{ ...instance, cas_store: "CAS" }],
          ac: [{ ...instance, ac_store: "AC" }],
          capabilities: [instance],
          bytestream: [{ ...instance, cas_store: "CAS" }],
        },
      },
    ],
  };
}
