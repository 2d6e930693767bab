import { isKeyedByContent } from "../cache/entry-key.ts";
import { CacheError } from "../cache/cache-error.ts";
import { DirectoryLock } from "./directory-lock.ts";
import { errorCode, type FileSystem, nodeFileSystem } from "./file-system.ts";
import { checkRecord } from "./segment/record-check.ts";
import { segmentIdOfFileName, segmentPath } from "./segment/segment-file.ts";
import { recoverSegment } from "./segment/segment-recovery.ts";
import { StorePaths } from "./store-paths.ts";

/** A record, or a stretch of a segment, that is damaged. */
export interface DamageReport {
  readonly segmentId: number;
  /** Of the record; undefined where the damage is not in a record that could be told. */
  readonly offset: number | undefined;
  readonly key: string | undefined;
  readonly reason: string;
}

export interface VerifySummary {
  readonly segmentCount: number;
  readonly recordCount: number;
  readonly byteCount: number;
  /** Segments without a footer: the tail of a process that did not close cleanly. */
  readonly unsealedCount: number;
  readonly damage: readonly DamageReport[];
}

export interface VerifyProgress {
  readonly segmentsDone: number;
  readonly segmentCount: number;
  readonly byteCount: number;
}

/**
 * Reads a store that no process serves, changes nothing, and holds every record against its checksums and its hash.
 * @throws {CacheError} failed_precondition where the directory is in use or is no store.
 */
export function verifyStore(
  directory: string,
  onProgress: (progress: VerifyProgress) => void,
  fileSystem: FileSystem = nodeFileSystem,
): VerifySummary {
  const paths = new StorePaths(directory);
  const segmentIds = listSegmentIds(fileSystem, paths.segments);
  using _lock = DirectoryLock.acquire(directory);
  const damage: DamageReport[] = [];
  let recordCount = 0;
  let byteCount = 0;
  let unsealedCount = 0;
  for (const [segmentsDone, segmentId] of segmentIds.entries()) {
    onProgress({ segmentsDone, segmentCount: segmentIds.length, byteCount });
    try {
      const segment = verifySegment(fileSystem, paths.segments, segmentId, damage);
      recordCount += segment.recordCount;
      byteCount += segment.fileBytes;
      unsealedCount += segment.sealed ? 0 : 1;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      damage.push({ segmentId, offset: undefined, key: undefined, reason });
    }
  }
  onProgress({ segmentsDone: segmentIds.length, segmentCount: segmentIds.length, byteCount });
  return { segmentCount: segmentIds.length, recordCount, byteCount, unsealedCount, damage };
}

function verifySegment(
  fileSystem: FileSystem,
  segmentsDirectory: string,
  segmentId: number,
  damage: DamageReport[],
): { recordCount: number; fileBytes: number; sealed: boolean } {
  const fd = fileSystem.open(segmentPath(segmentsDirectory, segmentId), "read");
  try {
    const { records, fileBytes, sealed, corruptStretches, header } = recoverSegment(fileSystem, fd);
    if (header === undefined && fileBytes > 0) {
      damage.push({ segmentId, offset: 0, key: undefined, reason: "the segment header is damaged" });
    }
    if (corruptStretches > 0) {
      damage.push({
        segmentId,
        offset: undefined,
        key: undefined,
        reason: `${corruptStretches} damaged stretches between records`,
      });
    }
    for (const record of records) {
      const reason = checkRecord(fileSystem, fd, record, { hash: isKeyedByContent(record.space) });
      if (reason === undefined) continue;
      damage.push({ segmentId, offset: record.offset, key: Buffer.from(record.key).toString("hex"), reason });
    }
    return { recordCount: records.length, fileBytes, sealed };
  } finally {
    fileSystem.close(fd);
  }
}

function listSegmentIds(fileSystem: FileSystem, directory: string): number[] {
  try {
    const names = fileSystem.listDirectory(directory);
    return names
      .map(segmentIdOfFileName)
      .filter((id) => id !== undefined)
      .toSorted((a, b) => a - b);
  } catch (cause) {
    const why = errorCode(cause) === "ENOENT" ? "is not a Kura data directory" : "cannot be read";
    throw new CacheError("failed_precondition", `${directory} ${why}`, { cause });
  }
}
