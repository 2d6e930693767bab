import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { REAPI_SCENARIOS } from "../scenario-names.ts";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer, SystemOptions } from "./system.ts";

const EPOCH = "300s";

/**
 * Buildbarn's storage daemon, in Go: blobs in large block files, which are synced once an epoch.
 * Written from its documentation: its program could not be had yet (README).
 */
export const bbStorage: Peer = {
  name: "bb-storage",
  program: "bb_storage",
  system: (programPath) => ({
    name: "bb-storage",
    durability: `synced every ${EPOCH}`,
    scenarios: REAPI_SCENARIOS,
    async start(options) {
      const port = await freePort();
      const configPath = join(options.directory, "bb_storage.jsonnet");
      writeFileSync(configPath, JSON.stringify(config(options, port)));
      return await PeerProcess.start([programPath, configPath], port, options);
    },
  }),
};

/** JSON is Jsonnet, too. */
function config(options: SystemOptions, port: number): object {
  const anyone = { allow: {} };
  return {
    contentAddressableStorage: {
      backend: localStore(join(options.directory, "cas"), options.maxBytes),
      getAuthorizer: anyone,
      putAuthorizer: anyone,
      findMissingAuthorizer: anyone,
    },
    actionCache: {
      backend: {
        completenessChecking: {
          backend: localStore(join(options.directory, "ac"), 2 ** 30),
          maximumTotalTreeSizeBytes: 2 ** 26,
        },
      },
      getAuthorizer: anyone,
      putAuthorizer: anyone,
    },
    grpcServers: [{ listenAddresses: [`127.0.0.1:${port}`], authenticationPolicy: anyone }],
    executeAuthorizer: { deny: {} },
    maximumMessageSizeBytes: 2 ** 24,
  };
}

function localStore(directory: string, sizeBytes: number): object {
  const stateDirectoryPath = join(directory, "persistent_state");
  mkdirSync(stateDirectoryPath, { recursive: true });
  return {
    local: {
      keyLocationMapOnBlockDevice: { file: { path: join(directory, "key_location_map"), sizeBytes: 2 ** 26 } },
      keyLocationMapMaximumGetAttempts: 16,
      keyLocationMapMaximumPutAttempts: 64,
      oldBlocks: 8,
      currentBlocks: 24,
      newBlocks: 3,
      blocksOnBlockDevice: { source: { file: { path: join(directory, "blocks"), sizeBytes } }, spareBlocks: 3 },
      persistent: { stateDirectoryPath, minimumEpochInterval: EPOCH },
    },
  };
}
