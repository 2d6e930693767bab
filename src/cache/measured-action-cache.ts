import type { ActionCache } from "./action-cache.ts";
import type { CacheMeter } from "./cache-meter.ts";
import type { DigestHash } from "./digest.ts";

/** Counts hits, misses and bytes. The outermost decorator: an incomplete entry counts as the miss that it is. */
export class MeasuredActionCache implements ActionCache {
  readonly #inner: ActionCache;
  readonly #meter: CacheMeter;

  constructor(inner: ActionCache, meter: CacheMeter) {
    this.#inner = inner;
    this.#meter = meter;
  }

  get(instanceName: string, action: DigestHash): Promise<Uint8Array | undefined> | Uint8Array | undefined {
    const getting = this.#inner.get(instanceName, action);
    return getting instanceof Promise ? getting.then((result) => this.#counted(result)) : this.#counted(getting);
  }

  async put(instanceName: string, action: DigestHash, actionResult: Uint8Array): Promise<void> {
    await this.#inner.put(instanceName, action, actionResult);
    this.#meter.countBytes("ac", "written", actionResult.length);
  }

  #counted(actionResult: Uint8Array | undefined): Uint8Array | undefined {
    this.#meter.countLookups("ac", actionResult === undefined ? "miss" : "hit", 1);
    if (actionResult !== undefined) this.#meter.countBytes("ac", "read", actionResult.length);
    return actionResult;
  }
}
