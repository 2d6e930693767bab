import { keyWords } from "../../cache/key-words.ts";
import type { CacheErrorCode } from "../../cache/cache-error.ts";
import { contentHashOf, hashMismatch } from "../../cache/content-hash.ts";
import { ENCODINGS } from "../../cache/encoding.ts";
import { digestFunctionOfSpace } from "../../cache/entry-key.ts";
import { copyBytes } from "../copy-bytes.ts";
import { removeQuietly } from "../file-system.ts";
import { type EntryLocation } from "../index/index-layout.ts";
import { leaseSeconds } from "../lease-clock.ts";
import {
  ChunkChecksums,
  encodeRecordHeaderInto,
  type PlacedRecord,
  RECORD_HEADER_BYTES,
  recordBytes,
  recordFootprintBytes,
  recordTrailerBytes,
} from "../segment/segment-format.ts";
import { stagingFileBytes } from "./adoption.ts";
import { recode, targetEncoding } from "./at-rest.ts";
import { readStaged } from "./read-staged.ts";
import { stagedMemory } from "./staged-memory.ts";
import type { ShardContext } from "./shard-context.ts";
import type { PutOutcome, PutRequest } from "./shard-protocol.ts";
import { type CheckedPuts, checkPieces } from "./value-check.ts";
import { writeFailure } from "./write-failure.ts";
import type { ShardSegments } from "./shard-segments.ts";

interface Verified {
  readonly position: number;
  readonly words: Int32Array;
  /** As they are to be stored. */
  readonly encoding: number;
  readonly storedBytes: number;
  readonly payload: readonly Uint8Array[];
  readonly checksums: ChunkChecksums;
}

interface Appended {
  readonly position: number;
  readonly words: Int32Array;
  readonly location: EntryLocation;
}

const COPIED_PAYLOAD_BYTES_MAX = 4096;
/** Larger values are recoded before they come to a group, if at all. */
const DECODED_BYTES_MAX = 8 * 1024 * 1024;
/** Appended at once at the most; bounds the memory of a group whose bytes come from files. */
const FLUSH_BYTES = 16 * 1024 * 1024;

/**
 * One group commit: the uploads that queued up while the last one synced are verified, appended with few writes,
 * made durable by one sync and then published, in that order (I1, I2). Two uploads of one blob in a group are one
 * record (I4).
 */
export class PutGroup {
  private readonly context: ShardContext;
  private readonly segments: ShardSegments;
  private readonly requests: readonly PutRequest[];
  private readonly outcomes: (PutOutcome | undefined)[];
  private readonly firstOfKey = new Map<string, number>();
  private readonly takeSequence: () => number;
  private readonly checkedBefore: CheckedPuts;
  private readonly memory = stagedMemory;
  private batch: Verified[] = [];
  private batchBytes = 0;
  /** Keys of this group that the index does not know. */
  private newEntries = 0;
  private appended: Appended[] = [];
  /** Positions whose record lies in a segment, acknowledged or not: its bytes stay on the ledger. */
  private readonly occupying = new Set<number>();
  /** By position, what is reserved for a record that is to be stored in another encoding than it came in. */
  private readonly reserved = new Map<number, number>();

  constructor(
    context: ShardContext,
    segments: ShardSegments,
    requests: readonly PutRequest[],
    takeSequence: () => number,
    checkedBefore: CheckedPuts,
  ) {
    this.context = context;
    this.segments = segments;
    this.requests = requests;
    this.outcomes = requests.map(() => undefined);
    this.takeSequence = takeSequence;
    this.checkedBefore = checkedBefore;
  }

  /** @returns one outcome per request, in their order. Staging files are gone and the ledger is settled. */
  run(): PutOutcome[] {
    for (const [position, request] of this.requests.entries()) this.take(position, request);
    this.flushAll();
    if (this.context.durability === "commit") this.attemptSync(() => this.segments.sync());
    this.publish();
    return this.requests.map((request, position) => this.settle(request, position));
  }

  private take(position: number, request: PutRequest): void {
    const words = keyWords(request.key);
    if (request.source.kind === "file" && !this.memory.hasRoom(request.stagedBytes)) this.flushAll();
    // Verified also where the blob is known: wrong bytes are told so, whatever else is in the cache.
    const verified = this.verify(position, request, words);
    if (verified === undefined) return;
    const { index, clock } = this.context;
    const known = index.find(words, request.space);
    if (request.contentAddressed) {
      if (known !== undefined) {
        index.touch(known.entryNumber, leaseSeconds(clock));
        this.outcomes[position] = { status: "present" };
        return;
      }
      const name = nameOf(request);
      if (this.firstOfKey.has(name)) return;
      this.firstOfKey.set(name, position);
    }
    if (known === undefined && !this.takeIndexEntry(position)) return;
    this.enqueue(this.atRest(verified, request));
  }

  /** Before the record is written: one that is on disk and not in the index would take another's entry at a start. */
  private takeIndexEntry(position: number): boolean {
    if (this.newEntries === this.context.index.freeCount) {
      this.fail(position, "storage_full", "the index has no room for another entry");
      return false;
    }
    this.newEntries += 1;
    return true;
  }

  private verify(position: number, request: PutRequest, words: Int32Array): Verified | undefined {
    let payload: readonly Uint8Array[];
    try {
      payload = readStaged(this.context, request, (bytes) => this.memory.take(bytes));
    } catch (error) {
      this.fail(position, "internal", `staged bytes could not be read: ${String(error)}`);
      return undefined;
    }
    const bytes = payload.reduce((sum, piece) => sum + piece.byteLength, 0);
    if (bytes !== request.stagedBytes) {
      this.fail(position, "invalid_argument", `size: expected ${request.stagedBytes} bytes, got ${bytes}`);
      return undefined;
    }
    if (request.encoding !== ENCODINGS.identity) return this.verifyEncoded(position, request, words, payload);
    const checksums = new ChunkChecksums();
    if (!request.contentAddressed) {
      for (const piece of payload) checksums.update(piece);
    } else {
      const fn = digestFunctionOfSpace(request.space);
      const got = contentHashOf(fn, payload, (piece) => checksums.update(piece));
      const mismatch = hashMismatch(request.contentKey ?? request.key, got, bytes);
      if (mismatch !== undefined) {
        this.fail(position, "invalid_argument", mismatch);
        return undefined;
      }
    }
    return { position, words, payload, checksums, ...asStaged(request) };
  }

  private verifyEncoded(
    position: number,
    request: PutRequest,
    words: Int32Array,
    payload: readonly Uint8Array[],
  ): Verified | undefined {
    const checked = this.checkedBefore.get(request) ?? finish(checkPieces(request, payload));
    if (typeof checked !== "string") return { position, words, payload, checksums: checked, ...asStaged(request) };
    this.fail(position, "invalid_argument", checked);
    return undefined;
  }

  /** In the encoding that it is to be stored in, unless there is no room for that. */
  private atRest(verified: Verified, request: PutRequest): Verified {
    const { ledger, keepFreeBytes, atRest, segmentBytesMax } = this.context;
    const target = targetEncoding(atRest, request);
    const isLarge = request.sizeBytes > Math.min(DECODED_BYTES_MAX, segmentBytesMax);
    const payload = target === undefined || isLarge ? undefined : recode(target, request, verified.payload);
    if (target === undefined || payload === undefined) return verified;
    const { position, words } = verified;
    const footprintBytes = recordFootprintBytes(payload.length);
    const moreBytes = footprintBytes - recordFootprintBytes(request.stagedBytes);
    if (moreBytes <= 0) ledger.release(-moreBytes);
    else if (!ledger.tryReserve(moreBytes, keepFreeBytes)) return verified;
    this.reserved.set(position, footprintBytes);
    const checksums = new ChunkChecksums();
    checksums.update(payload);
    return {
      position,
      words,
      encoding: ENCODINGS[target],
      storedBytes: payload.length,
      payload: [payload],
      checksums,
    };
  }

  private enqueue(verified: Verified): void {
    const bytes = recordBytes(verified.storedBytes);
    if (!this.segments.fits(bytes, this.batchBytes)) {
      this.flush();
      if (!this.segments.fits(bytes)) this.attemptSync(() => this.segments.seal());
    }
    this.batch.push(verified);
    this.batchBytes += bytes;
    if (this.batchBytes >= FLUSH_BYTES) this.flushAll();
  }

  /** Nothing that was read is in hand any more. */
  private flushAll(): void {
    this.flush();
    this.memory.forget();
  }

  private flush(): void {
    if (this.batch.length === 0) return;
    const { batch, batchBytes } = this;
    this.batch = [];
    this.batchBytes = 0;
    try {
      this.append(batch, batchBytes);
    } catch (error) {
      this.context.stats.add("writeFailures");
      const { code, message } = writeFailure(error);
      for (const { position } of batch) this.fail(position, code, message);
    }
  }

  private append(batch: readonly Verified[], bytes: number): void {
    const writer = this.segments.writer();
    const records: PlacedRecord[] = [];
    let { endOffset: offset } = writer;
    for (const verified of batch) {
      const record = this.recordOf(verified, offset);
      records.push(record);
      offset += recordBytes(record.storedBytes);
    }
    const pieces = recordPieces(records, batch, writer.identity.nonce);
    this.segments.append(records, pieces, bytes);
    for (const [i, { position, words }] of batch.entries()) {
      const record = records[i];
      if (record === undefined) continue;
      this.occupying.add(position);
      this.appended.push({ position, words, location: { ...record, segmentId: writer.segmentId } });
    }
  }

  private recordOf({ position, encoding, storedBytes }: Verified, offset: number): PlacedRecord {
    const request = this.requestAt(position);
    return {
      space: request.space,
      encoding,
      sequence: this.takeSequence(),
      writtenAtMs: this.context.clock.wallMs(),
      sizeBytes: request.sizeBytes,
      storedBytes,
      owner: request.owner,
      key: request.key,
      offset,
    };
  }

  /** Runs a sync; where it fails, everything appended to that segment in this group fails with it (H5). */
  private attemptSync(sync: () => void): void {
    const segmentId = this.segments.activeWriter?.segmentId;
    try {
      sync();
    } catch (error) {
      const { code, message } = writeFailure(error);
      for (const { position, location } of this.appended) {
        if (location.segmentId === segmentId) this.fail(position, code, message);
      }
      this.appended = this.appended.filter(({ location }) => location.segmentId !== segmentId);
    }
  }

  private publish(): void {
    const { index, stats } = this.context;
    for (const { position, words, location } of this.appended) {
      const before = index.find(words, location.space);
      const lastUseSeconds = before?.lastUseSeconds ?? 0;
      index.publish(words, location, { verified: true, lastUseSeconds });
      this.outcomes[position] = { status: "stored" };
    }
    stats.add("groups");
    stats.add("groupedPuts", this.requests.length);
    stats.observe("groupPuts", this.requests.length);
  }

  /** The outcome of one request, with its staging file removed and its unused reservation given back. */
  private settle(request: PutRequest, position: number): PutOutcome {
    const outcome = this.outcomes[position] ?? this.outcomeOfTwin(request);
    const { ledger, stats, fileSystem } = this.context;
    if (request.source.kind === "file") {
      removeQuietly(fileSystem, request.source.path);
      ledger.release(stagingFileBytes(request.stagedBytes));
    }
    if (outcome.status === "present") stats.add("presentPuts");
    if (outcome.status === "failed") stats.add("rejectedPuts");
    if (!this.occupying.has(position)) {
      ledger.release(this.reserved.get(position) ?? recordFootprintBytes(request.stagedBytes));
    }
    return outcome;
  }

  private outcomeOfTwin(request: PutRequest): PutOutcome {
    const first = this.firstOfKey.get(nameOf(request));
    const outcome = first === undefined ? undefined : this.outcomes[first];
    if (outcome === undefined) return { status: "failed", code: "internal", message: "upload was not processed" };
    return outcome.status === "stored" ? { status: "present" } : outcome;
  }

  private fail(position: number, code: CacheErrorCode, message: string): void {
    this.outcomes[position] = { status: "failed", code, message };
  }

  private requestAt(position: number): PutRequest {
    const request = this.requests[position];
    if (request === undefined) throw new RangeError(`put group: no request at ${position}`);
    return request;
  }
}

function asStaged({ encoding, stagedBytes }: PutRequest): Pick<Verified, "encoding" | "storedBytes"> {
  return { encoding, storedBytes: stagedBytes };
}

/**
 * What is written for the records: their headers and trailers in one buffer, and with them payloads so small that a
 * copy costs less than a piece of their own.
 */
function recordPieces(records: readonly PlacedRecord[], batch: readonly Verified[], nonce: number): Uint8Array[] {
  const isCopied = ({ storedBytes }: PlacedRecord): boolean => storedBytes <= COPIED_PAYLOAD_BYTES_MAX;
  let frameBytes = 0;
  for (const record of records)
    frameBytes += recordBytes(record.storedBytes) - (isCopied(record) ? 0 : record.storedBytes);
  const frames = Buffer.allocUnsafe(frameBytes);
  const pieces: Uint8Array[] = [];
  let taken = 0;
  let at = 0;
  for (const [i, record] of records.entries()) {
    const { payload, checksums } = batch[i]!;
    encodeRecordHeaderInto(frames.subarray(at, at + RECORD_HEADER_BYTES), record, nonce);
    at += RECORD_HEADER_BYTES;
    if (isCopied(record)) {
      for (const piece of payload) {
        copyBytes(piece, frames, at);
        at += piece.byteLength;
      }
    } else {
      pieces.push(frames.subarray(taken, at), ...payload);
      taken = at;
    }
    const trailerBytes = recordTrailerBytes(record.storedBytes);
    checksums.trailerInto(frames.subarray(at, at + trailerBytes));
    at += trailerBytes;
  }
  pieces.push(frames.subarray(taken, at));
  return pieces;
}

function nameOf({ space, key }: PutRequest): string {
  return `${space}:${Buffer.from(key).toString("latin1")}`;
}

function finish<T>(job: Generator<undefined, T>): T {
  for (;;) {
    const step = job.next();
    if (step.done === true) return step.value;
  }
}
