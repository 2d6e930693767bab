/** What the process is able to do now. `draining` is final. */
export type ReadinessState = "starting" | "serving" | "read_only" | "draining";

export interface ReadinessStatus {
  readonly state: ReadinessState;
  /** A sentence for whoever asks why; undefined while serving. */
  readonly reason: string | undefined;
}

export type ReadinessListener = (status: ReadinessStatus) => void;

/**
 * Whether this process should get traffic: the one source of `/readyz` and of grpc.health.v1.
 *
 *     starting ──► serving ◄──► read_only
 *         └──────────┴─────────────┴────► draining
 */
export class Readiness {
  #status: ReadinessStatus = { state: "starting", reason: "starting: the store is being opened" };
  readonly #listeners = new Set<ReadinessListener>();

  get status(): ReadinessStatus {
    return this.#status;
  }

  /** Whether traffic is welcome: reads and writes. */
  get ready(): boolean {
    return this.#status.state === "serving";
  }

  /** Whether the process is about to exit. */
  get draining(): boolean {
    return this.#status.state === "draining";
  }

  /** The store takes reads and writes. */
  serve(): void {
    this.#move({ state: "serving", reason: undefined });
  }

  /** Reads go on, writes do not. */
  serveReadsOnly(reason: string): void {
    this.#move({ state: "read_only", reason: `read-only: ${reason}` });
  }

  /** Follows another's state: that of the main thread. */
  follow(status: ReadinessStatus): void {
    this.#move(status);
  }

  drain(): void {
    this.#move({ state: "draining", reason: "draining: the process is about to exit" });
  }

  /** Calls `listener` on each change from now on. @returns a function that ends this. */
  onChange(listener: ReadinessListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #move(next: ReadinessStatus): void {
    const { state, reason } = this.#status;
    const isUnchanged = next.state === state && next.reason === reason;
    if (state === "draining" || isUnchanged) return;
    this.#status = next;
    for (const listener of this.#listeners) listener(next);
  }
}
