import type { DetachedEntry, StagedEntry } from "./entry-store.ts";

/** An upload that tells its size once it is committed. */
export class MeasuredStagedEntry implements StagedEntry {
  readonly #inner: StagedEntry;
  readonly #onCommitted: (bytes: number) => void;

  constructor(inner: StagedEntry, onCommitted: (bytes: number) => void) {
    this.#inner = inner;
    this.#onCommitted = onCommitted;
  }

  get key(): StagedEntry["key"] {
    return this.#inner.key;
  }

  get bytesStaged(): number {
    return this.#inner.bytesStaged;
  }

  keepAs(name: string): void {
    this.#inner.keepAs(name);
  }

  write(chunk: Uint8Array): Promise<void> | void {
    return this.#inner.write(chunk);
  }

  tryWrite(chunk: Uint8Array): boolean {
    return this.#inner.tryWrite(chunk);
  }

  async commit(): Promise<void> {
    const { bytesStaged } = this.#inner;
    await this.#inner.commit();
    this.#onCommitted(bytesStaged);
  }

  park(): Promise<void> {
    return this.#inner.park();
  }

  detach(): Promise<DetachedEntry> {
    return this.#inner.detach();
  }

  leave(signal: AbortSignal): Promise<void> {
    return this.#inner.leave(signal);
  }

  discard(): Promise<void> {
    return this.#inner.discard();
  }
}
