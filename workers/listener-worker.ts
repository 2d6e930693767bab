import "../src/small-buffer-pools.ts";
import { parentPort, workerData } from "node:worker_threads";
import { runListener } from "../src/listener/run-listener.ts";
import type { ListenerWorkerData } from "../src/listener/listener-protocol.ts";

if (parentPort === null) throw new Error("a listener worker has a parent");
// What is thrown here or later ends the thread; the main thread logs it and starts another.
await runListener(workerData as ListenerWorkerData, parentPort);
