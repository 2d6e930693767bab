import { parentPort, workerData } from "node:worker_threads";
import type { ListenerStoreData } from "../../src/storage/listener/listener-protocol.ts";
import { ListenerStore } from "../../src/storage/listener/listener-store.ts";
import { contentOf } from "./cas-content.ts";

/** Uploads what it is given, all at once, and tells when the bytes are staged and when it has begun to commit. */
const { data, blobs } = workerData as { data: ListenerStoreData; blobs: readonly Uint8Array[] };
const silent = () => undefined;
const store = await ListenerStore.open(data, { logger: { info: silent, warn: silent, error: silent } });
const uploads = await Promise.all(
  blobs.map(async (bytes) => {
    const upload = await store.stage(contentOf(bytes).key);
    await upload.write(bytes);
    return upload;
  }),
);
for (const upload of uploads) void upload.commit();
// The turn in which the uploads that were ready together are sent.
setImmediate(() => parentPort?.postMessage("committing"));
