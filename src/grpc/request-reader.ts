import { CacheError } from "../cache/cache-error.ts";
import type { Timers } from "../timers.ts";
import { UploadDeadline } from "../upload-deadline.ts";
import type { RequestStream } from "./transport/handler.ts";

export interface RequestReaderOptions {
  /** The call's: aborting it ends the wait for the next message. */
  readonly signal: AbortSignal;
  /** As of {@link UploadDeadline}. */
  readonly idleMsMax: number;
  readonly timers: Timers;
}

/**
 * Reads the messages of a client stream one by one and lets the wait for the next be broken off from outside: by the
 * end of the call, by a deadline on progress, and by {@link interrupt}. Dispose of it to stop its timer. The rest of
 * the stream is the transport's to discard.
 */
export class RequestReader<Request> implements Disposable {
  readonly #stream: RequestStream<Request>;
  readonly #requests: AsyncIterator<Request>;
  readonly #signal: AbortSignal;
  readonly #deadline: UploadDeadline;
  #interruption: CacheError | undefined;
  #rejectPending: ((error: CacheError) => void) | undefined;

  constructor(requests: RequestStream<Request>, { signal, idleMsMax, timers }: RequestReaderOptions) {
    this.#stream = requests;
    this.#requests = requests[Symbol.asyncIterator]();
    this.#signal = signal;
    this.#deadline = new UploadDeadline({
      idleMsMax,
      timers,
      // While nobody waits for the client.
      isServerBusy: () => this.#rejectPending === undefined,
      onLate: (message) => this.interrupt(new CacheError("deadline_exceeded", message)),
    });
    signal.addEventListener("abort", this.#onAbort);
    if (signal.aborted) this.#onAbort();
  }

  /** @see RequestStream.takeReady @throws {CacheError} of the first interruption. */
  takeReady(): Request | undefined {
    if (this.#interruption !== undefined) throw this.#interruption;
    return this.#stream.takeReady();
  }

  /** @see RequestStream.offerTo */
  offerTo(consumer: (request: Request) => boolean): void {
    this.#stream.offerTo((request) => this.#interruption === undefined && consumer(request));
  }

  /**
   * The next message, or undefined at the end of the stream.
   * @throws {CacheError} of the first interruption, also for every later call.
   */
  next(): Promise<Request | undefined> {
    // A promise for each message instead of one race against the interruption: a race would pile up reactions on a
    // promise that lives as long as the stream.
    return new Promise((resolve, reject) => {
      if (this.#interruption !== undefined) return reject(this.#interruption);
      this.#rejectPending = reject;
      this.#requests.next().then(
        (result) => {
          this.#rejectPending = undefined;
          resolve(result.done === true ? undefined : result.value);
        },
        (error: unknown) => {
          this.#rejectPending = undefined;
          reject(error);
        },
      );
    });
  }

  /** Bytes have come in. Messages without one are no progress (HAZARDS H14). */
  noteProgress(bytes: number): void {
    this.#deadline.noteProgress(bytes);
  }

  /** Makes the pending and every later `next` throw. Only the first interruption counts. */
  interrupt(error: CacheError): void {
    this.#interruption ??= error;
    this.#rejectPending?.(this.#interruption);
  }

  [Symbol.dispose](): void {
    this.#deadline[Symbol.dispose]();
    this.#signal.removeEventListener("abort", this.#onAbort);
  }

  readonly #onAbort = (): void => {
    this.interrupt(new CacheError("cancelled", "the call was cancelled"));
  };
}
