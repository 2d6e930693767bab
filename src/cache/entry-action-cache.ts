import type { ActionCache } from "./action-cache.ts";
import type { DigestHash } from "./digest.ts";
import { actionKey } from "./entry-key.ts";
import type { EntryStore } from "./entry-store.ts";

/** The action cache over its key space of an engine; knows nothing of what the values refer to. */
export class EntryActionCache implements ActionCache {
  readonly #entries: EntryStore;

  constructor(entries: EntryStore) {
    this.#entries = entries;
  }

  get(instanceName: string, action: DigestHash): Promise<Uint8Array | undefined> | Uint8Array | undefined {
    const key = actionKey(instanceName, action);
    // A hit is a use: without this an entry would be retired under the builds that hit it.
    if (this.#entries.find(key, { renew: true }) === undefined) return undefined;
    const getting = this.#entries.get(key);
    return getting instanceof Promise ? getting.then((content) => content?.bytes()) : getting?.bytes();
  }

  put(instanceName: string, action: DigestHash, actionResult: Uint8Array): Promise<void> {
    return this.#entries.put(actionKey(instanceName, action), actionResult);
  }
}
