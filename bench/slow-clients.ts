import "../src/engine-flags.ts";
import { once } from "node:events";
import { Worker } from "node:worker_threads";

export interface SlowClientsTask {
  /** `127.0.0.1:PORT` */
  readonly endpoint: string;
  /** Half of them read, half of them upload. */
  readonly count: number;
  /** How many of them do something in the same moment: those that know nothing of each other, few. */
  readonly atOnce: number;
  /** Of a blob that is larger than what the buffers of two sockets hold: the server has to wait. */
  readonly readPath: string;
}

/** Clients in a thread of their own, from when all of them are in the middle of it until the object is disposed of. */
export class SlowClients implements AsyncDisposable {
  readonly #worker: Worker;

  private constructor(worker: Worker) {
    this.#worker = worker;
  }

  static async start(task: SlowClientsTask): Promise<SlowClients> {
    const worker = new Worker(new URL("./slow-clients-worker.ts", import.meta.url), { workerData: task });
    await once(worker, "message");
    return new SlowClients(worker);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }
}
