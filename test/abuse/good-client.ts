import { CacheClient, digestOf } from "../support/cache-client.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";

const BLOB_BYTES = 16 * 1024;

/** What a client that does as it should has seen for a while. */
export interface ClientFigures {
  readonly callCount: number;
  /** Of single calls. */
  readonly p99Ms: number;
  readonly faults: readonly string[];
}

/** A client that uploads, asks and reads, one call after the other, whatever others do to the server meanwhile. */
export class GoodClient implements AsyncDisposable {
  readonly #client: CacheClient;
  readonly #random: SeededRandom;
  readonly #working: Promise<void>;
  #durationsMs: number[] = [];
  #faults: string[] = [];
  #isStopped = false;

  constructor(endpoint: string, seed: string) {
    this.#client = new CacheClient(endpoint);
    this.#random = seededRandom(`${seed}/good`);
    this.#working = this.#work();
  }

  /** Since the last time that somebody asked. */
  takeFigures(): ClientFigures {
    const sorted = this.#durationsMs.toSorted((a, b) => a - b);
    const p99Ms = sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
    const figures = { callCount: sorted.length, p99Ms, faults: this.#faults };
    this.#durationsMs = [];
    this.#faults = [];
    return figures;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    await this.#working;
    this.#client[Symbol.dispose]();
  }

  async #work(): Promise<void> {
    while (!this.#isStopped) {
      const blob = this.#random.bytes(BLOB_BYTES);
      const digest = digestOf(blob);
      await this.#timed("FindMissingBlobs", async () => (await this.#client.findMissing([digest])).has(digest.hash));
      await this.#timed("Write", async () => (await this.#client.write(blob, { digest })) === blob.length);
      await this.#timed("Read", async () => (await this.#client.read(digest)).equals(blob));
    }
  }

  /** @param call resolves with whether the answer is the right one. */
  async #timed(name: string, call: () => Promise<boolean>): Promise<void> {
    const startedMs = performance.now();
    try {
      if (!(await call())) this.#faults.push(`${name} of the good client: a wrong answer`);
    } catch (error) {
      this.#faults.push(`${name} of the good client: ${String(error)}`);
    }
    this.#durationsMs.push(performance.now() - startedMs);
  }
}
