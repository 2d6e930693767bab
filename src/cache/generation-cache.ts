export interface GenerationCacheOptions<Value> {
  /** Of all costs together. */
  readonly costMax: number;
  /** Makes what outlives its generation independent of it, such as a copy of bytes that lie among others. */
  readonly carry?: (value: Value) => Value;
  /** A new generation begins. */
  readonly onGeneration?: () => void;
}

interface Held<Value> {
  readonly value: Value;
  readonly cost: number;
}

/**
 * A bounded cache that forgets what was not used for long, for the price of a look-up and no list to keep:
 *
 *     set ──► young ──(half of the bound is reached)──► old ──(again)──► forgotten
 *               ▲                                        │
 *               └────────────── get: used again ─────────┘
 *
 * So what it holds never costs more than `costMax`, and whatever was used since the young generation began is in it,
 * as long as that is not more than half of the bound.
 */
export class GenerationCache<Key, Value> {
  readonly #costMax: number;
  readonly #carry: (value: Value) => Value;
  readonly #onGeneration: () => void;
  #young = new Map<Key, Held<Value>>();
  #old = new Map<Key, Held<Value>>();
  #youngCost = 0;
  #oldCost = 0;

  constructor({ costMax, carry = (value) => value, onGeneration = () => {} }: GenerationCacheOptions<Value>) {
    this.#costMax = costMax;
    this.#carry = carry;
    this.#onGeneration = onGeneration;
  }

  /** What is held now. */
  get cost(): number {
    return this.#youngCost + this.#oldCost;
  }

  get(key: Key): Value | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young.value;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#begin(old.cost);
    // It may have been the one that was forgotten for its own sake: then it is new.
    if (this.#old.delete(key)) this.#oldCost -= old.cost;
    const value = this.#carry(old.value);
    this.#add(key, value, old.cost);
    return value;
  }

  /** @returns whether it is held: what costs more than half of the bound is not. */
  set(key: Key, value: Value, cost: number): boolean {
    this.delete(key);
    if (cost > this.#costMax / 2) return false;
    this.#begin(cost);
    this.#add(key, value, cost);
    return true;
  }

  delete(key: Key): void {
    const young = this.#young.get(key);
    if (young !== undefined && this.#young.delete(key)) this.#youngCost -= young.cost;
    const old = this.#old.get(key);
    if (old !== undefined && this.#old.delete(key)) this.#oldCost -= old.cost;
  }

  /** Forgets what `isGone` says; looks at everything. */
  deleteWhere(isGone: (value: Value) => boolean): void {
    for (const generation of [this.#young, this.#old]) {
      for (const [key, { value }] of generation) {
        if (isGone(value)) this.delete(key);
      }
    }
  }

  #add(key: Key, value: Value, cost: number): void {
    this.#young.set(key, { value, cost });
    this.#youngCost += cost;
  }

  /** Makes room in the young generation. */
  #begin(cost: number): void {
    if (this.#youngCost + cost <= this.#costMax / 2) return;
    this.#old = this.#young;
    this.#oldCost = this.#youngCost;
    this.#young = new Map();
    this.#youngCost = 0;
    this.#onGeneration();
  }
}
