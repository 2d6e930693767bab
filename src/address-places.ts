/** Bounds the connections of each address, so that one client cannot take the places of all others. */
export class AddressPlaces {
  readonly #countMax: number;
  /** Of the addresses that have any. */
  readonly #counts = new Map<string, number>();

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** @returns whether the address may have one more connection; then it has a place until {@link give}. */
  tryTake(address: string): boolean {
    const count = this.#counts.get(address) ?? 0;
    if (count >= this.#countMax) return false;
    this.#counts.set(address, count + 1);
    return true;
  }

  give(address: string): void {
    const count = this.#counts.get(address) ?? 0;
    if (count > 1) this.#counts.set(address, count - 1);
    else this.#counts.delete(address);
  }
}
