import { OTHER_NAMES, shownName } from "./top-names.ts";

/** What is stored on account of an instance. */
export interface InstanceAccount {
  /** Undefined where it is not known any more. */
  readonly name: string | undefined;
  readonly bytes: number;
  readonly quotaBytes: number | undefined;
}

/** An account as it is shown; of several together there is no quota. */
export interface ShownAccount {
  readonly instance: string;
  readonly storedBytes: number;
  readonly quotaBytes: number | undefined;
}

/** Instances that are shown by themselves: clients choose how many there are. */
const INSTANCES_MAX = 64;

/** Those on whose account most is stored, most first, and the others together. */
export function shownAccounts(accounts: readonly InstanceAccount[]): ShownAccount[] {
  const sorted = accounts.toSorted((a, b) => b.bytes - a.bytes);
  // Names that are cut or lost can be alike: they are one then.
  const shown = new Map<string, ShownAccount>();
  for (const [rank, { name, bytes, quotaBytes }] of sorted.entries()) {
    const instance = name === undefined || rank >= INSTANCES_MAX ? OTHER_NAMES : shownName(name);
    const before = shown.get(instance);
    shown.set(
      instance,
      before === undefined && instance !== OTHER_NAMES
        ? { instance, storedBytes: bytes, quotaBytes }
        : { instance, storedBytes: bytes + (before?.storedBytes ?? 0), quotaBytes: undefined },
    );
  }
  return [...shown.values()];
}
