import { assetKey } from "../cache/entry-key.ts";
import type { EntryStore } from "../cache/entry-store.ts";
import type { Asset, AssetName } from "./asset.ts";
import { decodeAsset, encodeAsset } from "./asset-record.ts";

/** Assets by name, over their key space of an engine; knows nothing of whether their blobs are there. */
export class AssetStore {
  readonly #entries: EntryStore;

  constructor(entries: EntryStore) {
    this.#entries = entries;
  }

  async get(name: AssetName): Promise<Asset | undefined> {
    const key = assetKey(nameText(name));
    // Found is used: what builds ask for stays.
    if (this.#entries.find(key, { renew: true }) === undefined) return undefined;
    const content = await this.#entries.get(key);
    return content && decodeAsset(await content.bytes());
  }

  /** Replaces what was filed under the name. */
  put(name: AssetName, asset: Asset): Promise<void> {
    return this.#entries.put(assetKey(nameText(name)), encodeAsset(asset));
  }
}

/** JSON, because URIs and qualifiers may hold any character that could separate them. */
export function nameText({ instanceName, kind, fn, uri, qualifiers }: AssetName): string {
  const pairs = qualifiers.map(({ name, value }) => [name, value] as const);
  // By code unit: the order of a locale could differ from run to run.
  const sorted = pairs.toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return JSON.stringify([instanceName, kind, fn, uri, sorted]);
}
