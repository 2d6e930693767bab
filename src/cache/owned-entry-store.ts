import type { Encoding } from "./encoding.ts";
import type { EntryOwner, OwnerRegister } from "./entry-owner.ts";
import type { EntryKey } from "./entry-key.ts";
import type {
  ByteRange,
  DetachedEntry,
  EntryContent,
  EntryPut,
  EntryStore,
  StagedEntry,
  StageOptions,
} from "./entry-store.ts";

/**
 * Puts what an instance uploads on its account. What it reads is found whoever has stored it; that it reads says that
 * the instance is in use. What does not fit into its quota is not begun. An instance has an account from its first
 * upload on: names that are only asked for have none.
 */
export class OwnedEntryStore implements EntryStore {
  readonly #entries: EntryStore;
  readonly #register: OwnerRegister;
  readonly #instanceName: string;
  #owner: EntryOwner | undefined;

  constructor(entries: EntryStore, register: OwnerRegister, instanceName: string) {
    this.#entries = entries;
    this.#register = register;
    this.#instanceName = instanceName;
    // Until it is known nobody is noted as reading: that is asked about in days.
    register.ownerOf(instanceName, false).then(
      (owner) => (this.#owner ??= owner),
      () => undefined,
    );
  }

  peek(key: EntryKey): boolean {
    return this.#entries.peek(key);
  }

  find(key: EntryKey, options?: { renew?: boolean }): number | undefined {
    this.#owner?.noteUse();
    return this.#entries.find(key, options);
  }

  get(
    key: EntryKey,
    range?: ByteRange,
    accept?: Encoding,
  ): Promise<EntryContent | undefined> | EntryContent | undefined {
    this.#owner?.noteUse();
    return this.#entries.get(key, range, accept);
  }

  prefetch(keys: readonly EntryKey[]): void {
    this.#entries.prefetch(keys);
  }

  stage(key: EntryKey, options?: StageOptions): Promise<StagedEntry> | StagedEntry {
    const owner = this.#owner;
    if (owner === undefined) return this.#become().then(() => this.stage(key, options));
    const admitting = owner.admit(key.sizeBytes ?? options?.sizeBytes ?? 0);
    if (admitting === undefined) return this.#entries.stage(owned(key, owner), options);
    return admitting.then(() => this.#entries.stage(owned(key, owner), options));
  }

  async attach(key: EntryKey, detached: DetachedEntry): Promise<StagedEntry> {
    return this.#entries.attach(owned(key, await this.#become()), detached);
  }

  async put(key: EntryKey, bytes: Uint8Array): Promise<void> {
    const owner = this.#owner ?? (await this.#become());
    await owner.admit(bytes.length);
    await this.#entries.put(owned(key, owner), bytes);
  }

  async putAll(puts: readonly EntryPut[]): Promise<unknown[]> {
    let owner: EntryOwner;
    try {
      owner = this.#owner ?? (await this.#become());
      await owner.admit(puts.reduce((sum, put) => sum + put.bytes.length, 0));
    } catch (error) {
      return puts.map(() => error);
    }
    return await this.#entries.putAll(puts.map((put) => ({ ...put, key: owned(put.key, owner) })));
  }

  /** Somebody with an account, from now on. */
  async #become(): Promise<EntryOwner> {
    this.#owner ??= await this.#register.ownerOf(this.#instanceName, true);
    if (this.#owner === undefined) throw new Error(`instance ${this.#instanceName}: no owner was given`);
    return this.#owner;
  }
}

function owned(key: EntryKey, owner: EntryOwner): EntryKey {
  owner.noteUse();
  return { ...key, owner: owner.number };
}
