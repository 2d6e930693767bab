/** The good client that is watched, in a thread of its own: what the run itself does, such as looking into `/proc`, is not in its figures. */
import { parentPort, workerData } from "node:worker_threads";
import { GoodClient } from "./good-client.ts";

/** What the thread is told. */
export interface GoodClientOrder {
  readonly endpoint: string;
  readonly seed: string;
}

/** Answered by {@link ClientFigures} of the time since the last request. */
export type GoodClientRequest = "figures" | "stop";

const { endpoint, seed } = workerData as GoodClientOrder;
if (parentPort === null) throw new Error("not a thread of its own");
const client = await GoodClient.start(endpoint, seed);
parentPort.on("message", (request: GoodClientRequest) => {
  void answer(request);
});

async function answer(request: GoodClientRequest): Promise<void> {
  if (request === "stop") await client[Symbol.asyncDispose]();
  parentPort?.postMessage(client.takeFigures());
  if (request === "stop") parentPort?.close();
}
