import { CacheError } from "../../cache/cache-error.ts";
import { encodedBytesMax, type Encoding, ENCODINGS } from "../../cache/encoding.ts";
import { type EntryKey, isContentAddressed } from "../../cache/entry-key.ts";
import { keyBytes } from "../../cache/key-words.ts";
import type { DetachedEntry, StagedEntry } from "../../cache/entry-store.ts";
import { copyBytes } from "../copy-bytes.ts";
import type { DiskLedger } from "../disk-ledger.ts";
import { errorCode, type FileSystem, removeQuietly } from "../file-system.ts";
import { ADOPTED_PAYLOAD_OFFSET, adoptedFileBytes, stagingFileBytes } from "../shard/adoption.ts";
import { type ShardAccess, ShardDiedError } from "../shard/shard-client.ts";
import type { PutOutcome, StagedSource } from "../shard/shard-protocol.ts";
import { isDiskFull } from "../shard/write-failure.ts";
import { recordFootprintBytes } from "../segment/segment-format.ts";
import type { Admission } from "./disk-admission.ts";
import type { EarlySyncs } from "./early-syncs.ts";
import { noteUpload } from "./note-upload.ts";
import { StagingFile, type StagingFileOptions } from "./staging-file.ts";
import { encodeStagingHead, freshStagingHead, hashUploadName } from "./staging-head.ts";
import { type StagingSlab, UNPROMISED_BYTES_MAX } from "./staging-slab.ts";

/** What all uploads share. */
export interface StagingContext {
  readonly slab: StagingSlab;
  readonly fileSystem: FileSystem;
  readonly ledger: DiskLedger;
  readonly admission: Admission;
  /** Bounds the temp files; a part of the disk that the ledger counts too. */
  readonly fileBudget: DiskLedger;
  readonly fileAdmission: Admission;
  /** Larger uploads go to a temp file at once. */
  readonly slabUploadBytesMax: number;
  /** From this size on, the temp file is adopted instead of copied. */
  readonly adoptBytesMin: number;
  /** Size of each of the two write buffers of a temp file, at the most. */
  readonly fileBufferBytes: number;
  /** For temp files that are to be adopted; undefined at durability relaxed. */
  readonly earlySyncs: EarlySyncs | undefined;
  readonly entryBytesMax: number;
  readonly newStagingPath: () => string;
  /** See readBootId. */
  readonly boot: Uint8Array | undefined;
  /** Called after bytes were given back or the disk got fuller. */
  readonly diskUseChanged: () => void;
}

/** A closed temp file and the room reserved for it; both belong to nobody until they are attached. */
export interface DetachedUpload {
  readonly path: string;
  readonly encoding: Encoding;
  /** See {@link StagedUpload.keepAs}; or its hash. */
  readonly name: string | Uint8Array | undefined;
  readonly sizeBytes: number | undefined;
  readonly coveredBytes: number;
  readonly reservedBytes: number;
  readonly reservedFileBytes: number;
}

/** Room is reserved in such steps for an upload whose size is not known. */
const COVER_STEP_BYTES = 8 * 1024 * 1024;

/**
 * One upload, from its first byte to its hand-over. Small ones stay in slab blocks; large ones, and small ones that
 * find no free block, go to a temp file. Room on disk is reserved before the bytes are taken (I7).
 */
export class StagedUpload implements StagedEntry {
  readonly key: EntryKey;
  private readonly context: StagingContext;
  private readonly shard: ShardAccess;
  private readonly encoding: Encoding;
  /** Of what is staged, where it is known. */
  private readonly sizeBytes: number | undefined;
  private readonly sizeBytesMax: number;
  private state: "open" | "committing" | "ended" = "open";
  private staged = 0;
  private readonly blocks: number[] = [];
  private blockFill: Buffer | undefined;
  private blockFilled = 0;
  private file: StagingFile | undefined;
  /** What a later process finds the file by; the hash of it once there is a file. */
  private name: string | Uint8Array | undefined;
  /** Room is reserved for an upload of this size. */
  private coveredBytes = 0;
  private reservedBytes = 0;
  private reservedFileBytes = 0;
  /** Of the slab, for a large upload. */
  private promisedBytes = 0;
  private busy: Promise<void> = Promise.resolve();
  private ending: AbortController | undefined;

  private constructor(
    context: StagingContext,
    shard: ShardAccess,
    key: EntryKey,
    sizeBytes: number | undefined,
    encoding: Encoding,
  ) {
    this.context = context;
    this.shard = shard;
    this.key = key;
    this.encoding = encoding;
    if (encoding === "identity") {
      this.sizeBytes = sizeBytes;
      this.sizeBytesMax = sizeBytes ?? context.entryBytesMax;
    } else {
      this.sizeBytesMax = Math.min(encodedBytesMax(sizeBytes ?? 0), context.entryBytesMax);
    }
  }

  /**
   * Reserves the room that the upload needs and makes its temp file if it is to have one; at once where it is small
   * and there is room, as there mostly is.
   * @param sizeBytes Of the value; undefined where it is not known in advance. Then, and where the bytes are encoded, room
   * is reserved as they arrive.
   */
  static start(
    context: StagingContext,
    shard: ShardAccess,
    key: EntryKey,
    sizeBytes: number | undefined,
    signal?: AbortSignal,
    encoding: Encoding = "identity",
  ): Promise<StagedUpload> | StagedUpload {
    const upload = new StagedUpload(context, shard, key, sizeBytes, encoding);
    return upload.tryStart() ? upload : upload.started(signal);
  }

  /** Where the upload starts in the slab, room is reserved for so much of it. */
  private get firstCoveredBytes(): number {
    return this.sizeBytes ?? Math.min(this.sizeBytesMax, this.context.slabUploadBytesMax, UNPROMISED_BYTES_MAX);
  }

  private tryStart(): boolean {
    return this.tryPromise() && this.tryCover(this.firstCoveredBytes);
  }

  /** @returns whether the upload may go to the slab. */
  private tryPromise(): boolean {
    const { slab, slabUploadBytesMax } = this.context;
    const bytes = this.firstCoveredBytes;
    if (bytes > slabUploadBytesMax) return false;
    if (bytes <= UNPROMISED_BYTES_MAX || this.promisedBytes > 0) return true;
    if (!slab.tryPromise(bytes)) return false;
    this.promisedBytes = bytes;
    return true;
  }

  /** Takes over what `detach` has left, in whatever thread that was. */
  static async attach(
    context: StagingContext,
    shard: ShardAccess,
    key: EntryKey,
    { bytesStaged, state }: DetachedEntry,
  ): Promise<StagedUpload> {
    const { path, name, encoding, sizeBytes, coveredBytes, reservedBytes, reservedFileBytes } = state as DetachedUpload;
    const { fileSystem, ledger, fileBudget, newStagingPath } = context;
    const upload = new StagedUpload(context, shard, key, encoding === "identity" ? sizeBytes : key.sizeBytes, encoding);
    upload.staged = bytesStaged;
    upload.name = name;
    upload.coveredBytes = coveredBytes;
    upload.reservedBytes = reservedBytes;
    upload.reservedFileBytes = reservedFileBytes;
    ledger.hold(reservedBytes);
    fileBudget.hold(reservedFileBytes);
    // A name of this thread's: the other one's files are removed when it ends.
    const ownPath = newStagingPath();
    try {
      fileSystem.rename(path, ownPath);
      const position = ADOPTED_PAYLOAD_OFFSET + bytesStaged;
      upload.file = await StagingFile.reopen(fileSystem, ownPath, position, upload.fileOptions(coveredBytes));
    } catch (error) {
      for (const left of [path, ownPath]) removeQuietly(fileSystem, left);
      await upload.release();
      throw stagingError(error);
    }
    return upload;
  }

  get bytesStaged(): number {
    return this.staged;
  }

  keepAs(name: string): void {
    if (this.state !== "open" || this.sizeBytes === undefined || this.staged > 0) return;
    this.name = name;
    if (this.file !== undefined) this.beginFile(this.file);
  }

  tryWrite(chunk: Uint8Array): boolean {
    const total = this.staged + chunk.byteLength;
    const isCovered = this.state === "open" && total <= Math.min(this.sizeBytesMax, this.coveredBytes);
    if (!isCovered) return false;
    if (this.file !== undefined) {
      if (!this.file.tryWrite(chunk)) return false;
    } else {
      // Blocks are counted as if the chunk began with a new one.
      if (this.context.slab.bytesFree < chunk.byteLength) return false;
      this.fillBlocks(chunk);
    }
    this.staged = total;
    return true;
  }

  private async started(signal?: AbortSignal): Promise<StagedUpload> {
    const { firstCoveredBytes } = this;
    try {
      if (this.tryPromise()) await this.cover(firstCoveredBytes, false, signal);
      else await this.openFile(firstCoveredBytes, signal);
    } catch (error) {
      await this.release();
      throw stagingError(error);
    }
    return this;
  }

  write(chunk: Uint8Array): Promise<void> | void {
    if (this.state !== "open") throw new CacheError("failed_precondition", "the upload has ended");
    const total = this.staged + chunk.byteLength;
    if (total > this.sizeBytesMax) {
      const bound = this.sizeBytes === undefined ? "at most " : "";
      const what = this.encoding === "identity" ? "" : `${this.encoding} `;
      throw new CacheError(
        "invalid_argument",
        `size: expected ${bound}${this.sizeBytesMax} ${what}bytes, got at least ${total}`,
      );
    }
    this.staged = total;
    if (total > this.coveredBytes) return this.track(this.writeUncovered(chunk, total));
    if (this.file !== undefined) return this.track(this.file.write(chunk));
    const rest = this.fillBlocks(chunk);
    return rest === undefined ? undefined : this.track(this.spill(rest, this.coveredBytes));
  }

  async commit(): Promise<void> {
    if (this.state !== "open") throw new CacheError("failed_precondition", "the upload has ended");
    this.state = "committing";
    try {
      await this.busy;
      if (this.staged !== (this.sizeBytes ?? this.staged)) {
        throw new CacheError("invalid_argument", `size: expected ${this.sizeBytes} bytes, got ${this.staged}`);
      }
      // Every write has completed and the descriptor is closed before the shard may open the path (I5).
      await this.file?.finish();
      await this.settleReservation();
    } catch (error) {
      await this.release();
      throw stagingError(error);
    }
    await this.handOver();
  }

  async park(): Promise<void> {
    if (this.state !== "open" || this.staged === 0) return;
    await this.busy;
    await this.track(this.settleOnFile())?.catch(() => undefined);
  }

  /** What the file holds outlives this process; what is in a buffer does not. */
  private async settleOnFile(): Promise<void> {
    if (this.file === undefined) await this.spill(new Uint8Array(0), this.coveredBytes);
    await this.file?.settle();
  }

  async leave(signal: AbortSignal): Promise<void> {
    if (this.name === undefined) return this.discard();
    if (this.state !== "open") return;
    const { fileSystem, ledger } = this.context;
    try {
      await this.busy;
      if (this.file === undefined) await this.track(this.spill(new Uint8Array(0), this.coveredBytes));
      this.state = "committing";
      await noteUpload(fileSystem, await this.finishFile(), signal);
    } catch (error) {
      await this.release();
      throw stagingError(error);
    }
    // Whoever finds the file counts it anew.
    this.file = undefined;
    ledger.release(this.reservedBytes);
    this.reservedBytes = 0;
    this.end();
  }

  async detach(): Promise<DetachedEntry> {
    if (this.state !== "open") throw new CacheError("failed_precondition", "the upload has ended");
    await this.busy;
    if (this.file === undefined) await this.track(this.spill(new Uint8Array(0), this.coveredBytes));
    this.state = "committing";
    const { staged, name, encoding, sizeBytes, coveredBytes, reservedBytes, reservedFileBytes } = this;
    const { ledger, fileBudget } = this.context;
    let path: string;
    try {
      path = await this.finishFile();
    } catch (error) {
      await this.release();
      throw stagingError(error);
    }
    ledger.letGo(reservedBytes);
    fileBudget.letGo(reservedFileBytes);
    this.file = undefined;
    this.reservedBytes = 0;
    this.reservedFileBytes = 0;
    this.end();
    const state: DetachedUpload = { path, name, encoding, sizeBytes, coveredBytes, reservedBytes, reservedFileBytes };
    return { bytesStaged: staged, state };
  }

  async discard(): Promise<void> {
    if (this.state !== "open") return;
    this.state = "committing";
    // A write that waits for room gives up: nobody wants its bytes any more (H13).
    this.ending?.abort();
    await this.busy;
    await this.release();
  }

  private async handOver(): Promise<void> {
    const { key, encoding, file, blocks, staged } = this;
    const source: StagedSource =
      file === undefined ? { kind: "slab", blocks, start: 0 } : { kind: "file", path: file.path };
    let outcome: PutOutcome;
    let isSent = false;
    const onSent = (): void => {
      isSent = true;
      this.context.ledger.letGo(this.reservedBytes);
    };
    try {
      const request = {
        space: key.space,
        key: keyBytes(key.words),
        contentAddressed: isContentAddressed(key),
        ...(key.contentWords === undefined ? {} : { contentKey: keyBytes(key.contentWords) }),
        encoding: ENCODINGS[encoding],
        sizeBytes: encoding === "identity" ? staged : (key.sizeBytes ?? 0),
        stagedBytes: staged,
        owner: key.owner ?? 0,
        source,
        adopt: file !== undefined && staged >= this.context.adoptBytesMin,
      };
      outcome = await this.shard.call("put", request, onSent);
    } catch (error) {
      // The shard did not answer: its bytes are still ours. What it had appended before it died cannot be told from
      // here, so the reservation is left on the ledger, which then counts too much rather than too little.
      if (isSent && error instanceof ShardDiedError) this.reservedBytes = 0;
      if (isSent) this.context.ledger.hold(this.reservedBytes);
      await this.release();
      throw error;
    }
    // The shard has removed or adopted the file and keeps the books of its bytes.
    this.file = undefined;
    this.reservedBytes = 0;
    this.end();
    if (outcome.status === "failed") throw putFailure(outcome);
  }

  /** An upload of unknown size that has outgrown what was reserved for it. */
  private async writeUncovered(chunk: Uint8Array, total: number): Promise<void> {
    const covered = Math.min(this.sizeBytesMax, Math.max(total, this.coveredBytes + COVER_STEP_BYTES));
    if (this.file === undefined) return this.spill(chunk, covered);
    await this.cover(covered, true, this.untilDiscarded());
    await this.file.write(chunk);
  }

  /** Copies into slab blocks. @returns what is left where the slab is used up. */
  private fillBlocks(chunk: Uint8Array): Uint8Array | undefined {
    const { slab } = this.context;
    let taken = 0;
    while (taken < chunk.byteLength) {
      if (this.blockFill === undefined || this.blockFilled === slab.blockBytes) {
        const block = slab.take();
        if (block === undefined) return chunk.subarray(taken);
        this.blocks.push(block);
        this.blockFill = slab.view(block);
        this.blockFilled = 0;
      }
      const take = Math.min(slab.blockBytes - this.blockFilled, chunk.byteLength - taken);
      copyBytes(taken === 0 ? chunk : chunk.subarray(taken), this.blockFill, this.blockFilled, take);
      this.blockFilled += take;
      taken += take;
    }
    return undefined;
  }

  /** Moves the upload from the slab to a temp file, with the bytes that found no block. */
  private async spill(rest: Uint8Array, coveredBytes: number): Promise<void> {
    const file = await this.openFile(coveredBytes, this.untilDiscarded());
    const { slab } = this.context;
    for (const [i, block] of this.blocks.entries()) {
      const isLast = i === this.blocks.length - 1;
      await file.write(isLast ? slab.view(block).subarray(0, this.blockFilled) : slab.view(block));
    }
    this.giveBlocks();
    await file.write(rest);
  }

  private giveBlocks(): void {
    const { slab } = this.context;
    slab.give(this.blocks.splice(0));
    slab.unpromise(this.promisedBytes);
    this.promisedBytes = 0;
    this.blockFill = undefined;
  }

  private async openFile(coveredBytes: number, signal?: AbortSignal): Promise<StagingFile> {
    const { fileSystem, newStagingPath } = this.context;
    await this.cover(coveredBytes, true, signal);
    const options = this.fileOptions(coveredBytes);
    this.file = await StagingFile.create(fileSystem, newStagingPath(), ADOPTED_PAYLOAD_OFFSET, options);
    this.beginFile(this.file);
    return this.file;
  }

  private fileOptions(coveredBytes: number): StagingFileOptions {
    const { fileBufferBytes, adoptBytesMin, earlySyncs } = this.context;
    return {
      bufferBytes: Math.min(fileBufferBytes, ADOPTED_PAYLOAD_OFFSET + coveredBytes + 1),
      earlySyncs: coveredBytes >= adoptBytesMin ? earlySyncs : undefined,
    };
  }

  private beginFile(file: StagingFile): void {
    const { sizeBytes } = this;
    if (this.name === undefined || sizeBytes === undefined) return;
    // Not before: most uploads come without a file.
    if (typeof this.name === "string") this.name = hashUploadName(this.name);
    file.beginWith(encodeStagingHead(freshStagingHead(this.name, sizeBytes, this.context.boot)));
  }

  /** Every byte is written and the descriptor is closed when it resolves (I5). @returns the path. */
  private async finishFile(): Promise<string> {
    if (this.file === undefined) throw new Error("the upload has no file");
    await this.file.finish();
    return this.file.path;
  }

  private untilDiscarded(): AbortSignal {
    this.ending ??= new AbortController();
    return this.ending.signal;
  }

  /** Reserves room for a small upload. */
  private tryCover(coveredBytes: number): boolean {
    const bytes = this.diskBytes(coveredBytes, false);
    if (!this.context.admission.tryAdmit(bytes)) return false;
    this.reservedBytes = bytes;
    this.coveredBytes = coveredBytes;
    return true;
  }

  /** Reserves room for an upload of `coveredBytes`. */
  private async cover(coveredBytes: number, onFile: boolean, signal?: AbortSignal): Promise<void> {
    const { admission, fileAdmission } = this.context;
    if (onFile && coveredBytes > this.reservedFileBytes) {
      const moreFileBytes = coveredBytes - this.reservedFileBytes;
      await fileAdmission.admit(moreFileBytes, signal);
      this.reservedFileBytes += moreFileBytes;
    }
    const more = this.diskBytes(coveredBytes, onFile) - this.reservedBytes;
    if (more > 0) {
      await admission.admit(more, signal);
      this.reservedBytes += more;
    }
    this.coveredBytes = coveredBytes;
  }

  /** Makes the reservation exactly what the shard will account for. */
  private async settleReservation(): Promise<void> {
    const exact = this.diskBytes(this.staged, this.file !== undefined);
    if (exact > this.reservedBytes) await this.context.admission.admit(exact - this.reservedBytes);
    else this.context.ledger.release(this.reservedBytes - exact);
    this.reservedBytes = exact;
  }

  /** What an upload of this size takes on disk while it is handed over. */
  private diskBytes(sizeBytes: number, onFile: boolean): number {
    return onFile ? stagedFileBytes(sizeBytes, this.context.adoptBytesMin) : recordFootprintBytes(sizeBytes);
  }

  private track(work: Promise<void> | undefined): Promise<void> | undefined {
    if (work === undefined) return undefined;
    const mapped = work.catch((error: unknown) => {
      throw stagingError(error);
    });
    // `commit` and `discard` wait for it; the failure itself reaches whoever called `write`.
    this.busy = mapped.catch(() => undefined);
    return mapped;
  }

  /** Frees everything, the reservation included; nothing was handed over. */
  private async release(): Promise<void> {
    const { file } = this;
    this.file = undefined;
    // Gone already where the shard took it: then there is nothing to remove.
    await file?.discard().catch(() => undefined);
    this.context.ledger.release(this.reservedBytes);
    this.reservedBytes = 0;
    this.end();
  }

  private end(): void {
    const { fileBudget, fileAdmission, diskUseChanged } = this.context;
    this.state = "ended";
    this.giveBlocks();
    if (this.reservedFileBytes > 0) {
      fileBudget.release(this.reservedFileBytes);
      this.reservedFileBytes = 0;
      fileAdmission.roomWasMade();
    }
    diskUseChanged();
  }
}

/** What an upload of this size takes on disk from its temp file to its place among the records. */
export function stagedFileBytes(sizeBytes: number, adoptBytesMin: number): number {
  if (sizeBytes >= adoptBytesMin) return adoptedFileBytes(sizeBytes);
  return recordFootprintBytes(sizeBytes) + stagingFileBytes(sizeBytes);
}

/** What the uploader is told of a put that failed. */
export function putFailure({ code, message }: Extract<PutOutcome, { status: "failed" }>): CacheError {
  return new CacheError(code, message, code === "invalid_argument" ? {} : { retryAfterMs: 1000 });
}

function stagingError(error: unknown): unknown {
  const code = errorCode(error);
  if (isDiskFull(error)) {
    return new CacheError("storage_full", "the disk is full", { retryAfterMs: 5000, cause: error });
  }
  if (code === "EMFILE" || code === "ENFILE") {
    return new CacheError("resource_exhausted", "no file descriptor is free", { retryAfterMs: 1000, cause: error });
  }
  return error;
}
