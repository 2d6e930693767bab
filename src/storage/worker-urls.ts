/** Every worker-thread entry, in one place. */
export const LISTENER_WORKER_URL = new URL("../../workers/listener-worker.ts", import.meta.url);
export const SHARD_WORKER_URL = new URL("../../workers/shard-worker.ts", import.meta.url);
