import { CacheError } from "../../cache/cache-error.ts";
import { isContentAddressed } from "../../cache/entry-key.ts";
import { ENCODINGS } from "../../cache/encoding.ts";
import type { EntryPut } from "../../cache/entry-store.ts";
import { keyBytes } from "../../cache/key-words.ts";
import { copyBytes } from "../copy-bytes.ts";
import { recordFootprintBytes } from "../segment/segment-format.ts";
import { decodeOutcomes, encodePuts } from "../shard/put-message.ts";
import { type ShardAccess, ShardDiedError } from "../shard/shard-client.ts";
import { isLongPut, type PutOutcome, type PutRequest } from "../shard/shard-protocol.ts";
import { putFailure, type StagingContext } from "./staged-upload.ts";

/**
 * Small values that are there as a whole, on their way to one shard together: side by side in slab blocks of their
 * own, with one message and one answer. The blocks belong to the batch until the shard has answered (I5).
 *
 *     blocks   │ value 0 │ value 1 │ val┆ue 2 │ · · ·
 */
export class StagedBatch {
  private readonly context: StagingContext;
  private readonly shard: ShardAccess;
  private readonly requests: readonly PutRequest[];
  private readonly blocks: readonly number[];

  private constructor(
    context: StagingContext,
    shard: ShardAccess,
    requests: readonly PutRequest[],
    blocks: readonly number[],
  ) {
    this.context = context;
    this.shard = shard;
    this.requests = requests;
    this.blocks = blocks;
  }

  /**
   * @returns undefined where there is no room for all of them at once, on disk or in memory, or where all would wait for
   * one that takes long.
   */
  static tryStage(context: StagingContext, shard: ShardAccess, puts: readonly EntryPut[]): StagedBatch | undefined {
    const { slab, admission } = context;
    let valueBytes = 0;
    let diskBytes = 0;
    for (const { key, bytes, encoding = "identity" } of puts) {
      const { sizeBytes = 0 } = key;
      if (isLongPut({ adopt: false, encoding: ENCODINGS[encoding], sizeBytes })) return undefined;
      valueBytes += bytes.byteLength;
      diskBytes += recordFootprintBytes(bytes.byteLength);
    }
    if (valueBytes > slab.bytesFree || !admission.tryAdmit(diskBytes)) return undefined;
    const blocks = Array.from({ length: Math.ceil(valueBytes / slab.blockBytes) }, () => slab.take()!);
    let at = 0;
    const requests = puts.map((put) => {
      const { bytes } = put;
      const request = requestOf(put, blocks, at, slab.blockBytes);
      for (let done = 0; done < bytes.byteLength;) {
        const start = at % slab.blockBytes;
        const take = Math.min(slab.blockBytes - start, bytes.byteLength - done);
        const block = slab.view(blocks[Math.floor(at / slab.blockBytes)]!);
        copyBytes(done === 0 ? bytes : bytes.subarray(done), block, start, take);
        done += take;
        at += take;
      }
      return request;
    });
    return new StagedBatch(context, shard, requests, blocks);
  }

  /** Hands the values over. @returns for each of them why it is not stored, or undefined. Never rejects. */
  async commit(): Promise<(CacheError | undefined)[]> {
    const { ledger, slab, diskUseChanged } = this.context;
    const diskBytes = this.requests.reduce((sum, { stagedBytes }) => sum + recordFootprintBytes(stagedBytes), 0);
    let isSent = false;
    const onSent = (): void => {
      isSent = true;
      ledger.letGo(diskBytes);
    };
    let outcomes: PutOutcome[];
    try {
      const response = await this.shard.call("putMany", encodePuts(this.requests), onSent);
      outcomes = decodeOutcomes(response, this.requests.length);
    } catch (error) {
      // As for a single upload: what a shard that died has appended is not known here.
      const isKnown = !isSent || !(error instanceof ShardDiedError);
      if (isSent && isKnown) ledger.hold(diskBytes);
      if (isKnown) ledger.release(diskBytes);
      const failure = error instanceof CacheError ? error : new CacheError("internal", String(error), { cause: error });
      return this.requests.map(() => failure);
    } finally {
      slab.give(this.blocks);
      diskUseChanged();
    }
    return outcomes.map((outcome) => (outcome.status === "failed" ? putFailure(outcome) : undefined));
  }
}

function requestOf(
  { key, bytes, encoding = "identity" }: EntryPut,
  blocks: readonly number[],
  at: number,
  blockBytes: number,
): PutRequest {
  const stagedBytes = bytes.byteLength;
  const first = Math.floor(at / blockBytes);
  const end = Math.ceil((at + stagedBytes) / blockBytes);
  return {
    space: key.space,
    key: keyBytes(key.words),
    contentAddressed: isContentAddressed(key),
    ...(key.contentWords === undefined ? {} : { contentKey: keyBytes(key.contentWords) }),
    encoding: ENCODINGS[encoding],
    sizeBytes: encoding === "identity" ? stagedBytes : (key.sizeBytes ?? 0),
    stagedBytes,
    owner: key.owner ?? 0,
    source: { kind: "slab", blocks: blocks.slice(first, end), start: at % blockBytes },
    adopt: false,
  };
}
