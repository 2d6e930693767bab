/** The good client that is watched, in a thread of its own: what the run itself does, such as looking into `/proc`, is not in its figures. */
import { parentPort, workerData } from "node:worker_threads";
import { GoodClient } from "./good-client.ts";

/** What the thread is told; whatever it is sent then is answered by the figures of the time since the last message. */
export interface GoodClientOrder {
  readonly endpoint: string;
  readonly seed: string;
}

const { endpoint, seed } = workerData as GoodClientOrder;
const client = await GoodClient.start(endpoint, seed);
parentPort?.on("message", () => parentPort?.postMessage(client.takeFigures()));
