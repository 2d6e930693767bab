export interface GenerationCacheOptions<Value> {
  /** Of all costs together. */
  readonly costMax: number;
  /** Makes what outlives its generation independent of it, such as a copy of bytes that lie among others. */
  readonly carry?: (value: Value) => Value;
  /** A new generation begins. */
  readonly onGeneration?: () => void;
  /** Nothing is found under its key any more, or something else. */
  readonly onForgotten?: (value: Value) => void;
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
  readonly #onForgotten: ((value: Value) => void) | undefined;
  #young = new Map<Key, Held<Value>>();
  #old = new Map<Key, Held<Value>>();
  #youngCost = 0;
  #oldCost = 0;

  constructor(options: GenerationCacheOptions<Value>) {
    const { costMax, carry = (value) => value, onGeneration = () => {}, onForgotten } = options;
    this.#costMax = costMax;
    this.#carry = carry;
    this.#onGeneration = onGeneration;
    this.#onForgotten = onForgotten;
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
    // First, so that it is not forgotten for its own sake.
    this.#old.delete(key);
    this.#oldCost -= old.cost;
    this.#begin(old.cost);
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
    // It is in one of them at the most.
    const forgotten = young ?? old;
    if (forgotten !== undefined) this.#onForgotten?.(forgotten.value);
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
    const forgotten = this.#old;
    this.#old = this.#young;
    this.#oldCost = this.#youngCost;
    this.#young = new Map();
    this.#youngCost = 0;
    this.#onGeneration();
    if (this.#onForgotten !== undefined) for (const { value } of forgotten.values()) this.#onForgotten(value);
  }
}
