/** What a {@link MemberList} keeps in each of its members: where it is, or {@link NOWHERE}. */
export interface Member {
  place: number;
}

export const NOWHERE = -1;

/**
 * A set whose members come and go with every call. A `Set` would keep them all until the next full collection: each of its
 * tables refers to the one that followed it, so that one that has grown old holds all later ones, and what was in them
 * when they were given up. Here nothing refers to a member once it is deleted. In no order.
 */
export class MemberList<Item extends Member> implements Iterable<Item> {
  readonly #items: Item[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** @param item that is in no list. */
  add(item: Item): void {
    item.place = this.#items.push(item) - 1;
  }

  /** @returns false where it is in no list. @param item in no other one. */
  delete(item: Item): boolean {
    const { place } = item;
    if (place === NOWHERE) return false;
    item.place = NOWHERE;
    const last = this.#items.pop()!;
    if (last === item) return true;
    this.#items[place] = last;
    last.place = place;
    return true;
  }

  /** Those that are there now; they may be deleted meanwhile. */
  [Symbol.iterator](): ArrayIterator<Item> {
    return [...this.#items].values();
  }
}
