import { CacheError } from "../cache/cache-error.ts";

/** Credentials that are being checked, or wait for it. */
const CHECKS_MAX = 64;
/** Of them, those that one address has sent: it cannot take all places. */
const CHECKS_PER_ADDRESS_MAX = 16;

/** Bounds what is spent on credentials that are not known yet. The same ones sent many times at once are checked once. */
export class CheckQueue<Outcome> {
  readonly #running = new Map<string, Promise<Outcome>>();
  readonly #countByAddress = new Map<string, number>();

  /**
   * @param key of the credentials.
   * @throws {CacheError} resource_exhausted where there are too many.
   */
  run(key: string, address: string, check: () => Promise<Outcome>): Promise<Outcome> {
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const count = this.#countByAddress.get(address) ?? 0;
    if (this.#running.size >= CHECKS_MAX || count >= CHECKS_PER_ADDRESS_MAX) {
      throw new CacheError("resource_exhausted", "too many credentials are being checked", { retryAfterMs: 1000 });
    }
    this.#countByAddress.set(address, count + 1);
    const outcome = check().finally(() => this.#leave(key, address));
    this.#running.set(key, outcome);
    return outcome;
  }

  #leave(key: string, address: string): void {
    this.#running.delete(key);
    const count = this.#countByAddress.get(address)! - 1;
    if (count > 0) this.#countByAddress.set(address, count);
    else this.#countByAddress.delete(address);
  }
}
