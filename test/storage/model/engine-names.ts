import { keyBytes } from "../../../src/cache/key-words.ts";
import { ACTION_CACHE_SPACE, type EntryKey } from "../../../src/cache/entry-key.ts";
import type { Target } from "./engine-commands.ts";
import { ACTION_COUNT, actionKeyOf, BLOBS } from "./model-contents.ts";

/** A key that a run may use, and what the model calls it. */
export interface NamedKey {
  readonly name: string;
  readonly key: EntryKey;
  readonly target: Target;
}

export function blobName(blob: number): string {
  return `blob ${blob % BLOBS.length}`;
}

export function actionName(action: number): string {
  return `action ${action % ACTION_COUNT}`;
}

export const NAMED_KEYS: readonly NamedKey[] = [
  ...BLOBS.map(({ key }, index) => ({ name: blobName(index), key, target: { kind: "blob" as const, index } })),
  ...Array.from({ length: ACTION_COUNT }, (_, index) => {
    return { name: actionName(index), key: actionKeyOf(index), target: { kind: "action" as const, index } };
  }),
];

const NAME_OF_KEY = new Map(
  NAMED_KEYS.map(({ name, key: { space, words } }) => [keyText(space, keyBytes(words)), name]),
);

function keyText(space: number, bytes: Uint8Array): string {
  return `${space === ACTION_CACHE_SPACE ? "action" : "blob"} ${Buffer.from(bytes).toString("latin1")}`;
}

/** The model's name of a record's key; undefined for one that no run uses. */
export function nameOfRecord({ space, key }: { space: number; key: Uint8Array }): string | undefined {
  return NAME_OF_KEY.get(keyText(space, key));
}

export function namedKey({ kind, index }: Target): NamedKey {
  const position = kind === "blob" ? index % BLOBS.length : BLOBS.length + (index % ACTION_COUNT);
  const named = NAMED_KEYS[position];
  if (named === undefined) throw new RangeError(`${kind} ${index}`);
  return named;
}
