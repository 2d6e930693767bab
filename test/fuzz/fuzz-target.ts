/** Something that is fed with what a seed says, and that throws where it does not do what it has to. */
export interface FuzzTarget {
  run(seed: number): Promise<void>;
  /** What the runs so far have come to. */
  readonly figures: Readonly<Record<string, number>>;
}

/** @throws where `holds` is false. */
export function check(holds: boolean, what: () => string): void {
  if (!holds) throw new Error(what());
}

/** Guards against hangs only: another thread may have to be waited for, on a machine that others use. */
const PATIENCE_MS = 20_000;

/** Lets the event loop turn until it holds. @throws where it never does. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + PATIENCE_MS;
  while (!holds()) {
    check(performance.now() < endMs, () => `expected within ${PATIENCE_MS} ms: ${what}`);
    await new Promise(setImmediate);
  }
}
