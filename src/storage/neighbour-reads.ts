import type { FoundEntry } from "./index/index-reader.ts";
import type { HotRecords } from "./hot-records.ts";
import type { PromptReads } from "./segment/prompt-reads.ts";
import { RECORD_HEADER_BYTES } from "./segment/segment-format.ts";
import type { SegmentReaders } from "./segment/segment-readers.ts";

/** Larger payloads are read one by one: to copy them out of what was read together costs more than a call. */
export const NEIGHBOUR_BYTES_MAX = 8 * 1024;
/** Between two payloads: headers, checksums, and a record that nobody asks for. */
const GAP_BYTES_MAX = 4 * 1024;
/** In one call. */
const READ_BYTES_MAX = 256 * 1024;

/** A small record that is asked for, maybe more than once. */
export interface Neighbour {
  readonly shardIndex: number;
  readonly found: FoundEntry;
}

export interface NeighbourReadsParts {
  readonly readers: SegmentReaders;
  readonly promptReads: PromptReads;
  readonly hotRecords: HotRecords;
}

/**
 * Reads small records that lie side by side in their segment with one call for many, and keeps them as hot records. What was
 * uploaded together, the outputs of an action for instance, lies so. The records have to be known to be good. What cannot
 * be read so is left out, without an error: whoever reads it next finds out what is wrong with it.
 */
export function readNeighbours(neighbours: readonly Neighbour[], parts: NeighbourReadsParts): void {
  // Each place once: hot records free what they had under an entry when it is added again, and memory that is all one payload is theirs.
  const sorted = neighbours
    .toSorted(({ found: a }, { found: b }) => a.segmentId - b.segmentId || a.offset - b.offset)
    .filter(({ found }, i, all) => i === 0 || !isSamePlace(found, all[i - 1]!.found));
  for (let start = 0, end = 0; start < sorted.length; start = end) {
    end = endOfRun(sorted, start);
    if (end - start > 1) readRun(sorted.slice(start, end), parts);
  }
}

/** @returns where the records end that are read together with the first one. */
function endOfRun(sorted: readonly Neighbour[], start: number): number {
  const { found: first } = sorted[start]!;
  let last = first;
  for (let end = start + 1; end < sorted.length; end += 1) {
    const { found: next } = sorted[end]!;
    const isNear = next.segmentId === first.segmentId && next.offset - payloadEnd(last) <= GAP_BYTES_MAX;
    if (!isNear || payloadEnd(next) - payloadStart(first) > READ_BYTES_MAX) return end;
    last = next;
  }
  return sorted.length;
}

function readRun(run: readonly Neighbour[], { readers, promptReads, hotRecords }: NeighbourReadsParts): void {
  const { found: first } = run[0]!;
  const { found: last } = run.at(-1)!;
  const pinned = readers.pinOpen(first.segmentId);
  if (pinned === undefined) return;
  const start = payloadStart(first);
  const bytes = Buffer.allocUnsafe(payloadEnd(last) - start);
  try {
    if (promptReads.read(pinned.fd, bytes, start) < bytes.length) return;
  } catch {
    return;
  } finally {
    pinned.unpin();
  }
  for (const { shardIndex, found } of run) {
    const payload = bytes.subarray(payloadStart(found) - start, payloadEnd(found) - start);
    hotRecords.add(shardIndex, found, payload).giveBack();
  }
}

function isSamePlace(a: FoundEntry, b: FoundEntry): boolean {
  return a.segmentId === b.segmentId && a.offset === b.offset;
}

function payloadStart({ offset }: FoundEntry): number {
  return offset + RECORD_HEADER_BYTES;
}

function payloadEnd(found: FoundEntry): number {
  return payloadStart(found) + found.storedBytes;
}
