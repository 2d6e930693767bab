import { Worker } from "node:worker_threads";
import { CacheError } from "../cache/cache-error.ts";
import type { Logger } from "../observability/logger.ts";
import { telemetryEnvironment } from "../config/telemetry-environment.ts";
import { workerEnvironment } from "../worker-environment.ts";
import { LISTENER_WORKER_URL } from "../worker-urls.ts";
import { type CallHandlers, ThreadCalls } from "../thread-calls.ts";
import { systemTimers, type Timer, type Timers } from "../timers.ts";
import type { ListenerMethods, ListenerWorkerData, MainMethods } from "./listener-protocol.ts";

export interface ListenerThreadOptions {
  readonly listenerIndex: number;
  /** Made anew for each thread. */
  readonly data: () => ListenerWorkerData;
  /** Answers what the thread asks. */
  readonly handlers: CallHandlers<MainMethods>;
  /** Called after each end of a thread, before another is started. */
  readonly cleanUp: () => Promise<void>;
  readonly logger: Logger;
  readonly timers?: Timers;
}

type ListenerCalls = ThreadCalls<ListenerMethods, MainMethods>;

interface RunningThread {
  readonly worker: Worker;
  readonly calls: ListenerCalls;
  /** Settled when the thread is gone and cleaned up after. */
  readonly ended: Promise<void>;
}

/** A thread that cannot live is tried again this often; the other listeners serve meanwhile. */
const RESTART_DELAY_MS = 1000;
/** Beyond the deadline of a drain: for a thread that does not answer any more. */
const STUCK_AFTER_MS = 10_000;

/** A listener in a thread of its own, which is started again when it ends by itself: its connections are lost then. */
export class ListenerThread {
  readonly #options: ListenerThreadOptions;
  readonly #timers: Timers;
  #thread: RunningThread | undefined;
  #restart: Timer | undefined;
  #isStopping = false;

  constructor(options: ListenerThreadOptions) {
    this.#options = options;
    this.#timers = options.timers ?? systemTimers;
  }

  /** Resolves once the thread accepts connections. @throws where it cannot. */
  async start(): Promise<void> {
    const { listenerIndex, data, handlers } = this.#options;
    const workerData = data();
    const worker = new Worker(LISTENER_WORKER_URL, {
      workerData,
      transferList: [workerData.store.port],
      name: `listener ${listenerIndex}`,
      env: { ...workerEnvironment(), ...telemetryEnvironment() },
    });
    const calls: ListenerCalls = new ThreadCalls<ListenerMethods, MainMethods>(worker, handlers);
    this.#thread = { worker, calls, ended: this.#untilEnded(worker, calls) };
    await calls.call("listen", {});
  }

  /** @throws {CacheError} unavailable while no thread is running. */
  call: ListenerCalls["call"] = (...args) => {
    if (this.#thread !== undefined) return this.#thread.calls.call(...args);
    return Promise.reject(new CacheError("unavailable", "the listener thread is not running"));
  };

  /** Lets what is in flight finish until the deadline, then ends the thread for good. */
  async stop(deadlineMs: number): Promise<void> {
    this.#isStopping = true;
    this.#restart?.cancel();
    const thread = this.#thread;
    if (thread === undefined) return;
    const stuck = this.#timers.start(deadlineMs + STUCK_AFTER_MS, () => void thread.worker.terminate());
    await thread.calls.call("drain", { deadlineMs }).catch(() => undefined);
    stuck.cancel();
    await thread.worker.terminate();
    await thread.ended;
  }

  async #untilEnded(worker: Worker, calls: ListenerCalls): Promise<void> {
    const { listenerIndex, cleanUp, logger } = this.#options;
    let cause: unknown;
    worker.on("error", (error) => (cause = error));
    await new Promise((resolve) => worker.once("exit", resolve));
    calls.end(new CacheError("unavailable", "the listener thread has ended", { retryAfterMs: RESTART_DELAY_MS }));
    if (!this.#isStopping) logger.error({ listener: listenerIndex, error: cause }, "a listener thread ended");
    try {
      await cleanUp();
    } finally {
      this.#thread = undefined;
      if (!this.#isStopping) this.#restart = this.#timers.start(RESTART_DELAY_MS, () => void this.#startAgain());
    }
  }

  async #startAgain(): Promise<void> {
    const { listenerIndex, logger } = this.#options;
    try {
      await this.start();
      logger.info({ listener: listenerIndex }, "a listener thread was started again");
    } catch (error) {
      logger.error({ listener: listenerIndex, error }, "a listener thread cannot be started again");
      // Its end, if it is not there yet, is what brings the next attempt.
      await this.#thread?.worker.terminate();
    }
  }
}
