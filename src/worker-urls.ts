import "./engine-flags.ts";

/** Every worker-thread entry, in one place. */
export const LISTENER_WORKER_URL = new URL("../workers/listener-worker.ts", import.meta.url);
export const PASSWORD_WORKER_URL = new URL("../workers/password-worker.ts", import.meta.url);
export const SCAN_WORKER_URL = new URL("../workers/scan-worker.ts", import.meta.url);
export const SHARD_WORKER_URL = new URL("../workers/shard-worker.ts", import.meta.url);
