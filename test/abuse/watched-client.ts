import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { ClientFigures } from "./good-client.ts";
import type { GoodClientOrder } from "./good-client-worker.ts";

const WORKER = new URL("good-client-worker.ts", import.meta.url);

/** A {@link GoodClient} in a thread of its own. */
export class WatchedClient implements AsyncDisposable {
  readonly #worker: Worker;

  constructor(endpoint: string, seed: string) {
    const order: GoodClientOrder = { endpoint, seed };
    this.#worker = new Worker(WORKER, { workerData: order });
  }

  /** Since the last time that somebody asked. */
  async takeFigures(): Promise<ClientFigures> {
    this.#worker.postMessage("figures");
    const [figures] = (await once(this.#worker, "message")) as [ClientFigures];
    return figures;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}
