import type { ByteRange, EntryContent, StagedEntry, StageOptions } from "./entry-store.ts";
import type { ValueStore } from "./value-store.ts";

/** What a protocol keeps with a value, such as headers that it has to give back. */
export type Description = Readonly<Record<string, string>>;

/** A value with its description. */
export interface DescribedValue {
  readonly description: Description;
  readonly content: EntryContent;
}

/**
 * How a value is stored together with its description: in one entry, so that neither is ever without the other.
 *
 *   ┌─────────┬──────────┬────────────────────┬───────┐
 *   │ version │ length   │ description (JSON) │ value │
 *   └─────────┴──────────┴────────────────────┴───────┘
 *     1 byte    2 bytes LE
 */
const VERSION = 1;
const HEADER_BYTES = 3;
const DESCRIPTION_BYTES_MAX = 0xffff;
const HEAD_BYTES_MAX = HEADER_BYTES + DESCRIPTION_BYTES_MAX;

/** Values with descriptions, of up to 64 KiB as JSON, over a store of plain ones. */
export class DescribedValueStore {
  readonly #values: ValueStore;

  constructor(values: ValueStore) {
    this.#values = values;
  }

  /** @returns undefined for a miss, which includes an entry that does not begin with a description. */
  async get(name: string): Promise<DescribedValue | undefined> {
    const stored = await this.#values.get(name);
    return stored && openBehindHead(stored);
  }

  /** The description and the size of a value, which itself is not read. */
  async describe(name: string): Promise<{ description: Description; sizeBytes: number } | undefined> {
    const headOf = (sizeBytes: number): ByteRange => ({ offset: 0, limit: Math.min(sizeBytes, HEAD_BYTES_MAX) });
    const stored = await this.#values.get(name, headOf);
    const value = stored && (await openBehindHead(stored));
    if (value === undefined) return undefined;
    const { description, content } = value;
    content.close();
    return { description, sizeBytes: content.sizeBytes };
  }

  /** @param options with the size of the value alone. */
  async stage(name: string, description: Description, options: StageOptions = {}): Promise<StagedEntry> {
    const head = encodeDescription(description);
    const { sizeBytes, ...others } = options;
    const whole = sizeBytes === undefined ? others : { ...others, sizeBytes: head.length + sizeBytes };
    const staged = await this.#values.stage(name, whole);
    try {
      await staged.write(head);
    } catch (error) {
      await staged.discard();
      throw error;
    }
    return staged;
  }
}

async function openBehindHead(stored: EntryContent): Promise<DescribedValue | undefined> {
  const pieces = stored[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  let needed = HEADER_BYTES;
  while (head.length < needed) {
    const piece = await pieces.next();
    if (piece.done === true) return undefined;
    head = head.length === 0 ? asBuffer(piece.value) : Buffer.concat([head, piece.value]);
    if (head.length >= HEADER_BYTES) needed = HEADER_BYTES + head.readUInt16LE(1);
  }
  const description = decodeDescription(head.subarray(0, needed));
  if (description === undefined) {
    await pieces.return?.();
    return undefined;
  }
  const content = new ContentBehindHead(stored, pieces, head.subarray(needed), stored.sizeBytes - needed);
  return { description, content };
}

function encodeDescription(description: Description): Buffer {
  const json = Buffer.from(JSON.stringify(description));
  if (json.length > DESCRIPTION_BYTES_MAX) {
    throw new RangeError(`description: expected at most ${DESCRIPTION_BYTES_MAX} bytes, got ${json.length}`);
  }
  const head = Buffer.alloc(HEADER_BYTES + json.length);
  head[0] = VERSION;
  head.writeUInt16LE(json.length, 1);
  json.copy(head, HEADER_BYTES);
  return head;
}

/** @returns undefined where it is no description of this version. */
function decodeDescription(head: Buffer): Description | undefined {
  if (head[0] !== VERSION) return undefined;
  try {
    const fields: unknown = JSON.parse(head.toString("utf8", HEADER_BYTES));
    if (typeof fields !== "object" || fields === null) return undefined;
    const texts = Object.entries(fields).filter((field): field is [string, string] => typeof field[1] === "string");
    return Object.fromEntries(texts);
  } catch {
    return undefined;
  }
}

/** The rest of a content whose beginning was read. */
class ContentBehindHead implements EntryContent {
  readonly sizeBytes: number;
  readonly encoding = "identity";
  readonly #stored: EntryContent;
  readonly #pieces: AsyncIterator<Uint8Array>;
  readonly #first: Uint8Array;

  constructor(stored: EntryContent, pieces: AsyncIterator<Uint8Array>, first: Uint8Array, sizeBytes: number) {
    this.#stored = stored;
    this.#pieces = pieces;
    this.#first = first;
    this.sizeBytes = sizeBytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      if (this.#first.length > 0) yield this.#first;
      for (let piece = await this.#pieces.next(); piece.done !== true; piece = await this.#pieces.next()) {
        yield piece.value;
      }
    } finally {
      this.close();
    }
  }

  async bytes(): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for await (const piece of this) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  close(): void {
    // Returning the iterator would wait for a read in flight; closing does not.
    this.#stored.close();
  }
}

function asBuffer(bytes: Uint8Array): Buffer<ArrayBuffer> {
  return Buffer.from(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength);
}
