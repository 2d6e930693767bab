import { crc32 } from "node:zlib";
import { nextTurn } from "../../cache/turns.ts";
import { type FileSystem, readFullyAsync, writeFully } from "../file-system.ts";
import { decodeStagingHead, encodeStagingHead, STAGING_HEAD_BYTES } from "./staging-head.ts";

/** Checksummed in one go: the thread is busy with it for about 60 us. */
const PIECE_BYTES = 256 * 1024;

/**
 * Notes in the head of a closed temp file what it holds, with its checksum, and syncs both. Where `signal` is aborted
 * before the end, the file stays as it was.
 */
export async function noteUpload(fileSystem: FileSystem, path: string, signal: AbortSignal): Promise<void> {
  const fd = await fileSystem.openAsync(path, "update");
  try {
    const head = await readStagingHead(fileSystem, fd);
    const notedBytes = fileSystem.sizeOf(fd) - STAGING_HEAD_BYTES;
    const notedChecksum = await payloadChecksum(fileSystem, fd, notedBytes, signal);
    if (head === undefined || notedChecksum === undefined) return;
    writeFully(fileSystem, fd, [encodeStagingHead({ ...head, notedBytes, notedChecksum })], 0);
    // One sync for both: a head that is there before its payload has a checksum that does not hold.
    fileSystem.syncData(fd);
  } finally {
    await fileSystem.closeAsync(fd);
  }
}

async function readStagingHead(fileSystem: FileSystem, fd: number) {
  const bytes = Buffer.alloc(STAGING_HEAD_BYTES);
  const length = await readFullyAsync(fileSystem, fd, bytes, 0);
  return decodeStagingHead(bytes.subarray(0, length));
}

/** CRC-32 of the first so many bytes of the payload. @returns undefined where they are not there, or it was aborted. */
export async function payloadChecksum(
  fileSystem: FileSystem,
  fd: number,
  payloadBytes: number,
  signal?: AbortSignal,
): Promise<number | undefined> {
  const buffer = Buffer.allocUnsafe(Math.min(PIECE_BYTES, payloadBytes));
  let checksum = 0;
  for (let at = 0; at < payloadBytes; at += buffer.length) {
    if (signal?.aborted === true) return undefined;
    const piece = buffer.subarray(0, Math.min(buffer.length, payloadBytes - at));
    if ((await readFullyAsync(fileSystem, fd, piece, STAGING_HEAD_BYTES + at)) < piece.length) return undefined;
    checksum = crc32(piece, checksum);
    await nextTurn();
  }
  return checksum;
}
