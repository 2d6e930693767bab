import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer } from "./system.ts";

/** A build has up to 1100 calls in flight. */
const THREADS = 1200;

/**
 * BuildGrid, in Python, from PyPI (`pip install buildgrid` in an environment of its own): blobs as files, the action
 * cache in memory. It answers an upload when the file has its name, and syncs nothing.
 */
export const buildgrid: Peer = {
  name: "buildgrid",
  program: "bgd",
  system: (programPath) => ({
    name: "buildgrid",
    durability: "page cache",
    scenarios: ["replay", "uploads", "actions", "find", "batches"],
    async start(options) {
      const port = await freePort();
      const configPath = join(options.directory, "buildgrid.yaml");
      writeFileSync(configPath, config(join(options.directory, "cas"), port));
      return await PeerProcess.start([programPath, "server", "start", configPath], port, options);
    },
  }),
};

/** It refuses calls over the number of its threads, of which it starts only as many as it needs. */
function config(directory: string, port: number): string {
  return `
description: bench
server:
  - !channel
    address: "127.0.0.1:${port}"
    insecure-mode: true
authorization:
  method: none
monitoring:
  enabled: false
thread-pool-size: ${THREADS}
storages:
  - !disk-storage &blobs
    path: ${directory}
caches:
  - !lru-action-cache &actions
    storage: *blobs
    max-cached-refs: 1000000
    allow-updates: true
    cache-failed-actions: true
instances:
  - name: ""
    description: bench
    services:
      - !action-cache
        cache: *actions
      - !cas
        storage: *blobs
      - !bytestream
        storage: *blobs
`;
}
