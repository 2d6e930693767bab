/** Every worker-thread entry, in one place. */
export const SHARD_WORKER_URL = new URL("../../workers/shard-worker.ts", import.meta.url);
