import type { OwnedEntry } from "../index/index-writer.ts";
import { leaseSeconds } from "../lease-clock.ts";
import type { ShardContext } from "./shard-context.ts";
import type { ShardSegments } from "./shard-segments.ts";

/** Looked at in one go; group commits of the shard run in between. */
const ROWS_PER_SLICE = 65_536;

/** What an owner has in one segment and may lose. */
interface Droppable {
  unusedBytes: number;
  usedBytes: number;
}

/**
 * Drops of what an owner has the oldest: what was not used since it was written, segment by segment, then what was. What
 * holds a lease stays. The entries go; the bytes follow when their segments retire. After a kill a start may find some
 * of the entries again, which are dropped anew.
 *
 * Two looks at the index, and nothing to sort: the first one adds up what lies in each segment, the second one drops it.
 * @returns bytes that were dropped: `bytes` or a record more, less where leases leave no more.
 */
export function* trimOwner(
  context: ShardContext,
  segments: ShardSegments,
  owner: number,
  bytes: number,
): Generator<undefined, number> {
  const { index, clock, minLeaseSeconds, stats } = context;
  const nowSeconds = leaseSeconds(clock);
  const isLeased = ({ lastUseSeconds }: OwnedEntry): boolean =>
    lastUseSeconds > 0 && lastUseSeconds + minLeaseSeconds > nowSeconds;
  const isUsed = ({ lastUseSeconds, segmentId }: OwnedEntry): boolean =>
    lastUseSeconds > 0 && lastUseSeconds >= segments.heldSinceSeconds(segmentId);

  const inSegment = new Map<number, Droppable>();
  yield* visitSlices(context, owner, (entry) => {
    if (isLeased(entry)) return;
    const droppable = inSegment.get(entry.segmentId) ?? { unusedBytes: 0, usedBytes: 0 };
    inSegment.set(entry.segmentId, droppable);
    if (isUsed(entry)) droppable.usedBytes += entry.footprintBytes;
    else droppable.unusedBytes += entry.footprintBytes;
  });

  const toDrop = shareOut(inSegment, segments.ids, bytes);
  let droppedBytes = 0;
  yield* visitSlices(context, owner, (entry) => {
    const left = isUsed(entry) ? toDrop.used : toDrop.unused;
    const leftBytes = left.get(entry.segmentId) ?? 0;
    if (leftBytes <= 0 || isLeased(entry) || !index.remove(entry.words, entry.space)) return;
    left.set(entry.segmentId, leftBytes - entry.footprintBytes);
    droppedBytes += entry.footprintBytes;
    stats.add("trimmedRecords");
    stats.add("trimmedBytes", entry.footprintBytes);
  });
  return droppedBytes;
}

function* visitSlices(
  { index }: ShardContext,
  owner: number,
  visit: (entry: OwnedEntry) => void,
): Generator<undefined> {
  for (let row = 0; row < index.rowCount; row += ROWS_PER_SLICE) {
    index.visitOwned(owner, row, row + ROWS_PER_SLICE, visit);
    yield;
  }
}

/** How much of it goes from each segment: all from the oldest, and from the last one what is missing then. */
function shareOut(
  inSegment: ReadonlyMap<number, Droppable>,
  oldestFirst: readonly number[],
  bytes: number,
): { unused: Map<number, number>; used: Map<number, number> } {
  const own = new Set(oldestFirst);
  // What is not the shard's own was written under another shard count, before all others.
  const foreign = [...inSegment.keys()].filter((segmentId) => !own.has(segmentId));
  let missingBytes = bytes;
  const take = (bytesOf: (droppable: Droppable) => number): Map<number, number> => {
    const taken = new Map<number, number>();
    for (const segmentId of [...foreign, ...oldestFirst]) {
      const droppable = inSegment.get(segmentId);
      const takenBytes = Math.min(missingBytes, droppable === undefined ? 0 : bytesOf(droppable));
      taken.set(segmentId, takenBytes);
      missingBytes -= takenBytes;
    }
    return taken;
  };
  return { unused: take(({ unusedBytes }) => unusedBytes), used: take(({ usedBytes }) => usedBytes) };
}
