import type { DetachedBlob } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";

/** The interrupted uploads of one listener, as the others see them. A listener that is gone rejects. */
export interface UploadHolder {
  committedBytes(name: string): Promise<number> | number;
  surrender(name: string): Promise<DetachedBlob | undefined>;
  forget(name: string): Promise<unknown>;
  dropKept(): Promise<unknown>;
}

/**
 * Finds interrupted uploads at whichever listener keeps them, for a client that comes back to another one. The bytes
 * stay where they were taken until somebody goes on with them; then they move:
 *
 *     taker ── take ──► exchange ── committedBytes ──► everybody else
 *                              ── surrender ───────► who has the most, and lets go of it
 *     taker ◄─ detached ──────┘
 *       attach …  ── arrived ─► the name is free for the next
 *
 * One take or query of a name at a time: in between, the bytes are nobody's, and a query would count too few.
 */
export class UploadExchange {
  readonly #holders = new Map<number, UploadHolder>();
  /** By name: settled when the last of those who wait for the name is done. */
  readonly #turns = new Map<string, Promise<void>>();
  /** By listener: ends the turns in which it has not said that the bytes arrived. */
  readonly #arrivals = new Map<number, Map<string, () => void>>();

  join(listenerIndex: number, holder: UploadHolder): void {
    this.#holders.set(listenerIndex, holder);
  }

  /** The listener is gone, and what it kept with it. */
  leave(listenerIndex: number): void {
    this.#holders.delete(listenerIndex);
    for (const endTurn of this.#arrivals.get(listenerIndex)?.values() ?? []) endTurn();
    this.#arrivals.delete(listenerIndex);
  }

  /** The most that any listener has under the name. */
  async committedBytes(name: string): Promise<number> {
    const endTurn = await this.#turn(name);
    try {
      const sizes = await Promise.all([...this.#holders.values()].map((holder) => bytesOf(holder, name)));
      return Math.max(0, ...sizes);
    } finally {
      endTurn();
    }
  }

  /**
   * @returns what another listener than the taker had under the name, where that is more than `moreThanBytes`; the
   * taker then calls `arrived`.
   * @throws {CacheError} cancelled where `signal` is aborted before the taker's turn.
   */
  async take(
    taker: number,
    name: string,
    moreThanBytes: number,
    signal: AbortSignal,
  ): Promise<DetachedBlob | undefined> {
    const endTurn = await this.#turn(name, signal);
    let detached: DetachedBlob | undefined;
    try {
      detached = await (await this.#holderOfMost(taker, name, moreThanBytes))?.surrender(name);
    } finally {
      if (detached === undefined || !this.#holders.has(taker)) endTurn();
    }
    if (detached !== undefined) this.#arrivalsOf(taker).set(name, endTurn);
    return detached;
  }

  /** The taker has attached what it took, or could not. */
  arrived(taker: number, name: string): void {
    const arrivals = this.#arrivalsOf(taker);
    arrivals.get(name)?.();
    arrivals.delete(name);
  }

  forget(asker: number, name: string): void {
    for (const holder of this.#othersThan(asker)) holder.forget(name).catch(() => undefined);
  }

  async dropKept(asker: number): Promise<void> {
    await Promise.all(this.#othersThan(asker).map((holder) => holder.dropKept().catch(() => undefined)));
  }

  async #holderOfMost(taker: number, name: string, moreThanBytes: number): Promise<UploadHolder | undefined> {
    const holders = this.#othersThan(taker);
    const sizes = await Promise.all(holders.map((holder) => bytesOf(holder, name)));
    const most = Math.max(0, ...sizes);
    return most > moreThanBytes ? holders[sizes.indexOf(most)] : undefined;
  }

  #othersThan(listenerIndex: number): UploadHolder[] {
    return [...this.#holders].filter(([index]) => index !== listenerIndex).map(([, holder]) => holder);
  }

  #arrivalsOf(listenerIndex: number): Map<string, () => void> {
    const arrivals = this.#arrivals.get(listenerIndex) ?? new Map<string, () => void>();
    this.#arrivals.set(listenerIndex, arrivals);
    return arrivals;
  }

  /** Waits for the name. @returns what ends the turn. */
  async #turn(name: string, signal?: AbortSignal): Promise<() => void> {
    const before = this.#turns.get(name);
    const { promise, resolve } = Promise.withResolvers<void>();
    const after = Promise.all([before, promise]).then(() => {
      if (this.#turns.get(name) === after) this.#turns.delete(name);
    });
    this.#turns.set(name, after);
    const aborted = Promise.withResolvers<void>();
    const abort = (): void => aborted.resolve();
    signal?.addEventListener("abort", abort, { once: true });
    if (signal?.aborted === true) abort();
    await Promise.race([before, aborted.promise]);
    signal?.removeEventListener("abort", abort);
    if (signal?.aborted !== true) return resolve;
    resolve();
    throw new CacheError("cancelled", "another Write took over this resource name");
  }
}

/** A listener that is gone has nothing. */
async function bytesOf(holder: UploadHolder, name: string): Promise<number> {
  try {
    return await holder.committedBytes(name);
  } catch {
    return 0;
  }
}
