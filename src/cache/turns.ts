import { setImmediate } from "node:timers/promises";

/** Lets everything else that is ready run first: long loops over client input await this now and then. */
export async function nextTurn(): Promise<void> {
  await setImmediate();
}

/** `items` in order, in parts of at most `itemsMax`; none for an empty array. */
export function slices<T>(items: readonly T[], itemsMax: number): T[][] {
  const parts: T[][] = [];
  for (let start = 0; start < items.length; start += itemsMax) parts.push(items.slice(start, start + itemsMax));
  return parts;
}
