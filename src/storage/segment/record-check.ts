import { createContentHash, hashMismatch } from "../../cache/content-hash.ts";
import { digestFunctionOfSpace } from "../../cache/entry-key.ts";
import { type FileSystem, readFully } from "../file-system.ts";
import {
  CHUNK_BYTES,
  chunkCount,
  chunkHolds,
  type PlacedRecord,
  RECORD_HEADER_BYTES,
  recordTrailerBytes,
} from "./segment-format.ts";

/**
 * Reads a record's payload chunk by chunk and holds it against its checksums, and against its key where the key is
 * a hash of the contents.
 * @returns what is wrong, or undefined.
 */
export function checkRecord(
  fileSystem: FileSystem,
  fd: number,
  record: PlacedRecord,
  options: { hash: boolean },
): string | undefined {
  const { storedBytes } = record;
  const payloadOffset = record.offset + RECORD_HEADER_BYTES;
  const trailer = Buffer.alloc(recordTrailerBytes(storedBytes));
  if (readFully(fileSystem, fd, trailer, payloadOffset + storedBytes) < trailer.length)
    return "the file ends before the record";
  const contentHash = options.hash
    ? createContentHash(digestFunctionOfSpace(record.space), record.sizeBytes)
    : undefined;
  const buffer = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, storedBytes));
  for (let chunk = 0; chunk < chunkCount(storedBytes); chunk += 1) {
    const bytes = buffer.subarray(0, Math.min(CHUNK_BYTES, storedBytes - chunk * CHUNK_BYTES));
    if (readFully(fileSystem, fd, bytes, payloadOffset + chunk * CHUNK_BYTES) < bytes.length)
      return "the file ends before the record";
    if (!chunkHolds(bytes, trailer, chunk)) return `the checksum of chunk ${chunk} fails`;
    contentHash?.update(bytes);
  }
  const mismatch = contentHash && hashMismatch(record.key, contentHash.digest(), record.sizeBytes);
  return mismatch && "the contents do not have the hash that is their key";
}
