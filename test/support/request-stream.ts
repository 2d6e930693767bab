import type { RequestStream as HandlerRequests } from "../../src/grpc/transport/handler.ts";

/** A client stream driven by the test: messages arrive when it sends them. Nothing is lost where nobody reads yet. */
export class RequestStream<Request> implements HandlerRequests<Request> {
  readonly #arrived: Request[] = [];
  #waiting: PromiseWithResolvers<IteratorResult<Request>> | undefined;
  #isEnded = false;
  #failure: Error | undefined;
  /** Messages that the handler has taken. */
  taken = 0;

  send(...requests: Request[]): void {
    // Each is the handler's own, as if it had been decoded for it.
    this.#arrived.push(...requests.map((request) => (typeof request === "object" ? { ...request } : request)));
    this.#settle();
  }

  /** Half-close. */
  end(): void {
    this.#isEnded = true;
    this.#settle();
  }

  fail(error: Error): void {
    this.#failure = error;
    this.#settle();
  }

  takeReady(): Request | undefined {
    if (this.#arrived.length > 0) this.taken++;
    return this.#arrived.shift();
  }

  /** Nothing is offered, as by a transport that has no bytes to spare. */
  offerTo(): void {}

  [Symbol.asyncIterator](): AsyncIterator<Request> {
    return {
      next: () => {
        this.#waiting = Promise.withResolvers();
        const { promise } = this.#waiting;
        this.#settle();
        return promise;
      },
    };
  }

  #settle(): void {
    const waiting = this.#waiting;
    const isReady = this.#arrived.length > 0 || this.#isEnded || this.#failure !== undefined;
    if (waiting === undefined || !isReady) return;
    this.#waiting = undefined;
    if (this.#arrived.length > 0) {
      this.taken++;
      waiting.resolve({ done: false, value: this.#arrived.shift()! });
    } else if (this.#failure !== undefined) waiting.reject(this.#failure);
    else waiting.resolve({ done: true, value: undefined });
  }
}
