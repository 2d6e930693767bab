import { randomBytes } from "node:crypto";
import type { BlobStore } from "../../cache/blob-store.ts";
import { CacheError } from "../../cache/cache-error.ts";
import { beginsWithSize, type ContentHash, createContentHash } from "../../cache/content-hash.ts";
import { type Digest, type DigestFunctionName, isEmptyDigest, parseDigest } from "../../cache/digest.ts";
import { originContentKey } from "../../cache/entry-key.ts";
import type { EntryContent, EntryStore, StagedEntry } from "../../cache/entry-store.ts";
import { AssetFailure } from "../asset.ts";
import { type Integrity, IntegrityCheck } from "../subresource-integrity.ts";

export interface ContentIntakeOptions {
  readonly entries: EntryStore;
  /** Largest content taken, in bytes. */
  readonly bytesMax: number;
}

/** What is known of content before it comes. */
export interface ExpectedContent {
  /** Where it goes. */
  readonly blobs: BlobStore;
  /** Of the digest that it is to be found by. */
  readonly fn: DigestFunctionName;
  readonly sizeBytes: number | undefined;
  readonly integrity: Integrity | undefined;
}

/**
 * Puts content from an origin into the CAS while it comes, without holding it in memory. The engine files a blob
 * under its digest from the first byte on, and the digest is known in advance only where the origin tells the size
 * and the client the hash:
 *
 *     digest known:   origin ──► CAS
 *     else:           origin ──► entry under a random key ──► CAS
 *                         └► hash ─────────────────────────┘ digest
 *
 * In the second case the content is written twice; nobody asks for the first copy again, and it goes with its segment.
 */
export class ContentIntake {
  readonly #entries: EntryStore;
  readonly #bytesMax: number;

  constructor({ entries, bytesMax }: ContentIntakeOptions) {
    this.#entries = entries;
    this.#bytesMax = bytesMax;
  }

  /**
   * Resolves once the blob is visible and as durable as configured.
   * @param body may be left before its end where the blob is there already.
   * @throws {AssetFailure} aborted for another hash, resource_exhausted for too many bytes; what `body` throws.
   */
  async take(body: AsyncIterable<Uint8Array>, expected: ExpectedContent, signal: AbortSignal): Promise<Digest> {
    const { blobs, sizeBytes } = expected;
    if (sizeBytes !== undefined) this.#checkSize(sizeBytes);
    const known = knownDigest(expected);
    if (known === undefined) return this.#takeUnknown(body, expected, signal);
    if (blobs.peek(known)) return known;
    try {
      await fill(await blobs.stage(known, signal), body);
    } catch (error) {
      // The engine has compared the hashes.
      if (error instanceof CacheError && error.code === "invalid_argument") {
        throw new AssetFailure("aborted", `checksum.sri: ${error.message}`, { cause: error });
      }
      throw error;
    }
    return known;
  }

  async #takeUnknown(
    body: AsyncIterable<Uint8Array>,
    { blobs, fn, sizeBytes, integrity }: ExpectedContent,
    signal: AbortSignal,
  ): Promise<Digest> {
    const key = originContentKey(randomBytes(32));
    const staged = await this.#entries.stage(key, { signal, ...(sizeBytes === undefined ? {} : { sizeBytes }) });
    const isTooEarly = beginsWithSize(fn) && sizeBytes === undefined;
    const running = isTooEarly ? undefined : createContentHash(fn, sizeBytes ?? 0);
    const measure = new ContentMeasure(running, integrity, (takenBytes) => this.#checkSize(takenBytes));
    await fill(staged, body, measure);
    const { takenBytes } = measure;
    const hash = running ?? (await hashOf(await this.#contentOf(key), fn));
    const digest = parseDigest(Buffer.from(hash.digest()).toString("hex"), takenBytes, fn);
    if (isEmptyDigest(digest) || blobs.peek(digest)) return digest;
    await fill(await blobs.stage(digest, signal), await this.#contentOf(key));
    return digest;
  }

  async #contentOf(key: Parameters<EntryStore["get"]>[0]): Promise<EntryContent> {
    const content = await this.#entries.get(key);
    if (content === undefined) throw new CacheError("internal", "content that was just stored is gone");
    return content;
  }

  #checkSize(sizeBytes: number): void {
    if (sizeBytes <= this.#bytesMax) return;
    const message = `content: expected at most ${this.#bytesMax} bytes, got at least ${sizeBytes}`;
    throw new AssetFailure("resource_exhausted", message);
  }
}

/** The digest, where the client asks for it by its own hash and the origin tells the size. */
function knownDigest({ fn, sizeBytes, integrity }: ExpectedContent): Digest | undefined {
  const [hash, ...others] = integrity?.algorithm === fn ? integrity.hashes : [];
  if (hash === undefined || others.length > 0 || sizeBytes === undefined) return undefined;
  try {
    return parseDigest(hash, sizeBytes, fn);
  } catch {
    // No content has this hash and this size; reading it tells what is wrong.
    return undefined;
  }
}

/** Measures content as it comes by, and says no before it is stored. */
class ContentMeasure {
  readonly #hash: ContentHash | undefined;
  readonly #check: IntegrityCheck | undefined;
  readonly #checkSize: (takenBytes: number) => void;
  takenBytes = 0;

  constructor(
    hash: ContentHash | undefined,
    integrity: Integrity | undefined,
    checkSize: (takenBytes: number) => void,
  ) {
    this.#hash = hash;
    this.#check = integrity && new IntegrityCheck(integrity);
    this.#checkSize = checkSize;
  }

  /** @throws {AssetFailure} resource_exhausted */
  update(chunk: Uint8Array): void {
    this.takenBytes += chunk.length;
    this.#checkSize(this.takenBytes);
    this.#hash?.update(chunk);
    this.#check?.update(chunk);
  }

  /** @throws {AssetFailure} aborted where it is not what the client asked for. */
  end(): void {
    const problem = this.#check?.problem();
    if (problem !== undefined) throw new AssetFailure("aborted", problem);
  }
}

/** Of what is stored already, for a function that begins with its size. */
async function hashOf(content: EntryContent, fn: DigestFunctionName): Promise<ContentHash> {
  const hash = createContentHash(fn, content.sizeBytes);
  for await (const chunk of content) hash.update(chunk);
  return hash;
}

async function fill(staged: StagedEntry, chunks: AsyncIterable<Uint8Array>, measure?: ContentMeasure): Promise<void> {
  try {
    for await (const chunk of chunks) {
      measure?.update(chunk);
      await staged.write(chunk);
    }
    measure?.end();
    await staged.commit();
  } catch (error) {
    await staged.discard();
    throw error;
  }
}
