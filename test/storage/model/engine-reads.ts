import { CacheError } from "../../../src/cache/cache-error.ts";
import type { EntryContent } from "../../../src/cache/entry-store.ts";
import { decodeZstd } from "../../../src/cache/zstd/zstd-decoder.ts";
import { DECODED_AT_ONCE_BYTES_MAX } from "../../../src/storage/sharded-entry-store.ts";
import type { Target } from "./engine-commands.ts";
import type { EngineHost } from "./engine-host.ts";
import type { EngineLife } from "./engine-life.ts";
import { ModelViolation } from "./engine-model.ts";
import { NAMED_KEYS, type NamedKey, namedKey } from "./engine-names.ts";
import { blobOf, versionOf } from "./model-contents.ts";
import type { RunFigures } from "./run-figures.ts";

/** A second for the rounding of the clock and one for that of the bound. */
const LEASE_SLACK_SECONDS = 2;

/** Reads and look-ups, each held against the model. */
export class EngineReads {
  readonly #host: EngineHost;
  readonly #minLeaseSeconds: number;
  readonly #figures: RunFigures;

  constructor(host: EngineHost, minLeaseSeconds: number, figures: RunFigures) {
    this.#host = host;
    this.#minLeaseSeconds = minLeaseSeconds;
    this.#figures = figures;
  }

  async readEverything(life: EngineLife): Promise<void> {
    for (const named of NAMED_KEYS) {
      if (life.isOver) return;
      if (!this.#host.model.isUnwritten(named.name)) await this.#read(life, named, undefined);
    }
  }

  /** @param range Shares of the value; only for blobs. */
  read(life: EngineLife, target: Target, range: readonly [number, number] | undefined): Promise<void> {
    return this.#read(life, namedKey(target), target.kind === "blob" ? range : undefined);
  }

  find(life: EngineLife, target: Target, renew: boolean): void {
    const { model } = this.#host;
    const { name, key } = namedKey(target);
    const sizeBytes = life.store.find(key, { renew });
    if (sizeBytes === undefined) return this.#host.noteAbsent(name);
    if (model.isUnwritten(name)) throw new ModelViolation(`${name}: found, but never written`);
    if (key.sizeBytes !== undefined && sizeBytes !== key.sizeBytes) {
      throw new ModelViolation(`${name}: found with ${sizeBytes} bytes`);
    }
    if (renew) this.#renew(name);
    // A damaged blob is found until somebody reads it, and which value an action has a look-up does not tell.
    if (target.kind === "blob" && !model.isDamaged(name)) model.observe(name, 0, model.now());
  }

  async #read(life: EngineLife, named: NamedKey, range: readonly [number, number] | undefined): Promise<void> {
    const { model } = this.#host;
    const { name, key } = named;
    const sinceAt = model.now();
    // Larger values are decoded by libuv's threads, which no seed decides: they are taken as they are stored.
    const isDecodedHere = (key.sizeBytes ?? 0) <= DECODED_AT_ONCE_BYTES_MAX;
    const part = isDecodedHere ? range : undefined;
    const [offset, end] = (part ?? [0, 1]).map((share) => Math.floor(share * (key.sizeBytes ?? 0))) as [number, number];
    const limits = part === undefined ? {} : { limit: Math.max(0, end - offset) };
    let bytes: Uint8Array | undefined;
    try {
      const content = await life.store.get(key, { offset, ...limits }, isDecodedHere ? "identity" : "zstd");
      bytes = await content?.bytes();
      if (content?.encoding === "zstd" && bytes !== undefined) bytes = decodeZstd([bytes], content.sizeBytes);
      if (content !== undefined && !life.isOver) this.#noteHit(named, content);
    } catch (error) {
      if (life.isOver) return;
      if (!(error instanceof CacheError && error.code === "not_found")) this.#host.assertExplained(error as Error);
    }
    if (life.isOver) return;
    if (bytes === undefined) return this.#host.noteAbsent(name);
    this.#figures.readsChecked += 1;
    if (part === undefined) return this.#observe(named, Buffer.from(bytes), sinceAt);
    const expected = blobOf(named.target.index).bytes.subarray(offset, Math.max(offset, end));
    if (!expected.equals(bytes)) throw new ModelViolation(`${name}: wrong bytes from ${offset} to ${end}`);
  }

  #noteHit({ name, key }: NamedKey, content: EntryContent): void {
    if (key.sizeBytes !== undefined && content.sizeBytes !== key.sizeBytes) {
      throw new ModelViolation(`${name}: read with ${content.sizeBytes} bytes`);
    }
    this.#renew(name);
  }

  #observe({ name, target }: NamedKey, bytes: Buffer, sinceAt: number): void {
    const isBlob = target.kind === "blob";
    const version = isBlob && blobOf(target.index).bytes.equals(bytes) ? 0 : versionOf(target.index, bytes);
    if (version === undefined || isBlob !== (version === 0)) {
      throw new ModelViolation(`${name}: wrong bytes (${bytes.length})`);
    }
    this.#host.model.observe(name, version, sinceAt, bytes.length > 0);
  }

  #renew(name: string): void {
    const { model, nowSeconds } = this.#host;
    model.renewLease(name, nowSeconds + this.#minLeaseSeconds - LEASE_SLACK_SECONDS);
  }
}
