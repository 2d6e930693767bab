import { keyWords } from "../../cache/key-words.ts";
import { checkpointBytes, type CoveredSegment, saveCheckpoint } from "../index/index-checkpoint.ts";
import { leaseSeconds } from "../lease-clock.ts";
import { removeQuietly } from "../file-system.ts";
import { type ChunkChecksums, recordFootprintBytes } from "../segment/segment-format.ts";
import { adoptedFileBytes, adoptFile, stagingFileBytes } from "./adoption.ts";
import { recodedPath, recodeFile, targetEncoding } from "./at-rest.ts";
import { checkpointSource, loadIndex } from "./index-loading.ts";
import { PutGroup } from "./put-group.ts";
import { readStaged } from "./read-staged.ts";
import { Retention } from "./retention.ts";
import type { ShardContext } from "./shard-context.ts";
import type {
  LoadRequest,
  LoadResult,
  PutOutcome,
  PutRequest,
  RecoverRequest,
  RecoverResult,
  RetireResult,
  ScrubResult,
} from "./shard-protocol.ts";
import { recoverSegments, resumeNewest } from "./shard-recovery.ts";
import { Scrub } from "./scrub.ts";
import { ShardSegments } from "./shard-segments.ts";
import { trimOwner } from "./trim.ts";
import { checkPieces } from "./value-check.ts";

/**
 * One shard: the only writer of its segments and of its part of the index (I3). It knows no thread; its methods are
 * synchronous, and the long ones are generators that let group commits run between their slices.
 */
export class Shard {
  private readonly context: ShardContext;
  private readonly segments: ShardSegments;
  private readonly retention: Retention;
  private readonly scrubber: Scrub;
  private readonly checked = new WeakMap<PutRequest, ChunkChecksums | string>();
  private readonly foreign = new Map<number, CoveredSegment>();
  private nextSequence = 1;
  private recodedCount = 0;
  private checkpointFileBytes = 0;

  constructor(context: ShardContext) {
    this.context = context;
    this.segments = new ShardSegments(context);
    this.scrubber = new Scrub(context, this.segments);
    this.retention = new Retention(context, this.segments, () => this.takeSequence());
  }

  /** @see recoverSegments */
  recover(request: RecoverRequest): RecoverResult {
    return recoverSegments(this.context, request);
  }

  /** Fills the index and takes hold of the shard's segments. */
  load(request: LoadRequest): LoadResult {
    this.nextSequence = request.firstSequence;
    const loaded = loadIndex(this.context, request);
    for (const { segmentId, nonce, endOffset } of request.foreign) {
      this.foreign.set(segmentId, { segmentId, nonce, endOffset: loaded.unread.has(segmentId) ? 0 : endOffset });
    }
    this.checkpointFileBytes = loaded.checkpointBytes;
    this.context.ledger.charge(loaded.checkpointBytes);
    this.context.stats.set("checkpointBytes", loaded.checkpointBytes);
    for (const { segmentId, nonce, accountedBytes, createdAtMs, ...found } of request.own) {
      const endOffset = loaded.unread.has(segmentId) ? 0 : found.endOffset;
      this.segments.hold(segmentId, { nonce, endOffset, accountedBytes, createdAtMs, heldSinceSeconds: 0 });
    }
    const writer = resumeNewest(this.context, request, loaded);
    if (writer !== undefined) this.segments.resume(writer);
    const entries = this.context.index.liveCount;
    this.context.stats.set("recoveredRecords", entries);
    return { entries, fromCheckpoint: loaded.fromCheckpoint, warnings: loaded.warnings };
  }

  /** Saves the index beside the segments; see index-checkpoint.ts. @returns the size of the file. */
  *checkpoint(): Generator<undefined, number> {
    const { context, segments } = this;
    const covered = [...segments.covered(), ...this.foreign.values()];
    const bytes = checkpointBytes(context.index.rowCount, covered.length);
    // Reserved before it is written, beside the old one until that is replaced (I7). Where there is no room for it
    // the next start reads footers instead.
    if (!context.ledger.tryReserve(bytes, 0)) {
      context.stats.add("checkpointsSkipped");
      return 0;
    }
    try {
      yield* saveCheckpoint(checkpointSource(context), context.index, covered, leaseSeconds(context.clock), () =>
        segments.sync(),
      );
    } catch (error) {
      context.ledger.release(bytes);
      throw error;
    }
    context.ledger.release(this.checkpointFileBytes);
    this.checkpointFileBytes = bytes;
    context.stats.set("checkpointBytes", bytes);
    context.stats.add("checkpoints");
    return bytes;
  }

  /** One group commit. Never throws for a bad upload or a bad disk: each request has its outcome. */
  put(requests: readonly PutRequest[]): PutOutcome[] {
    return new PutGroup(this.context, this.segments, requests, () => this.takeSequence(), this.checked).run();
  }

  /** Whether it is to be stored in another encoding than it came in. */
  isRecoded(request: PutRequest): boolean {
    return targetEncoding(this.context.atRest, request) !== undefined;
  }

  /** A long upload in the encoding that it is to be stored in. @returns undefined where it stays as it is. */
  recode(request: PutRequest): Generator<undefined, PutRequest | undefined> {
    this.recodedCount += 1;
    const { stagingDirectory, shardIndex } = this.context;
    return recodeFile(this.context, request, recodedPath(stagingDirectory, shardIndex, this.recodedCount));
  }

  /** Of an upload that was recoded, what it came as. */
  dropStaged({ source, stagedBytes, adopt }: PutRequest): void {
    const { fileSystem, ledger } = this.context;
    if (source.kind === "file") removeQuietly(fileSystem, source.path);
    if (adopt) ledger.release(adoptedFileBytes(stagedBytes));
    else
      ledger.release(recordFootprintBytes(stagedBytes) + (source.kind === "file" ? stagingFileBytes(stagedBytes) : 0));
  }

  /** Holds an upload that takes long to decode against its key, before it joins a group. */
  *check(request: PutRequest): Generator<undefined, void> {
    let pieces: readonly Uint8Array[];
    try {
      pieces = readStaged(this.context, request);
    } catch {
      // Its group finds so too, and says so.
      return;
    }
    this.checked.set(request, yield* checkPieces(request, pieces));
  }

  adopt(request: PutRequest): Generator<undefined, PutOutcome> {
    return adoptFile(this.context, this.segments, request, this.takeSequence());
  }

  *retire(
    foreignSegmentId: number | undefined,
    favouredOwners: readonly number[] = [],
  ): Generator<undefined, RetireResult> {
    const favoured = new Set(favouredOwners);
    if (foreignSegmentId === undefined) return yield* this.retention.retireOldest(favoured);
    const result = yield* this.retention.leaveForeign(foreignSegmentId, favoured);
    this.foreign.delete(foreignSegmentId);
    return result;
  }

  /** @see trimOwner */
  trim(owner: number, bytes: number): Generator<undefined, number> {
    return trimOwner(this.context, this.segments, owner, bytes);
  }

  /** Takes a record out of the index if its entry still points there (H6). */
  quarantine(space: number, key: Uint8Array, segmentId: number, offset: number): boolean {
    const { index, stats } = this.context;
    const words = keyWords(key);
    const entry = index.find(words, space);
    if (entry === undefined || entry.segmentId !== segmentId || entry.offset !== offset) return false;
    stats.add("quarantinedRecords");
    return index.remove(words, space);
  }

  scrub(budgetBytes: number): Generator<undefined, ScrubResult> {
    return this.scrubber.run(budgetBytes);
  }

  sync(): void {
    this.segments.sync();
  }

  close(): void {
    this.segments.seal();
    const saving = this.checkpoint();
    while (saving.next().done !== true);
  }

  private takeSequence(): number {
    this.nextSequence += 1;
    return this.nextSequence - 1;
  }
}
