import { join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { type AtRest, type Encoding, ENCODINGS } from "../../cache/encoding.ts";
import { decodeZstd, ZstdDecoder } from "../../cache/zstd/zstd-decoder.ts";
import { type FileSystem, readFully, removeQuietly, writeFully } from "../file-system.ts";
import { keyWords } from "../../cache/key-words.ts";
import { ADOPTED_PAYLOAD_OFFSET, adoptedFileBytes } from "./adoption.ts";
import { readStaged } from "./read-staged.ts";
import type { ShardContext } from "./shard-context.ts";
import { isLongPut, type PutRequest } from "./shard-protocol.ts";
import { CHECK_SLICE_BYTES } from "./value-check.ts";

/** Smaller values are not worth the time, theirs and that of their readers. */
const ENCODED_BYTES_MIN = 1024;
/** Of its size, at the most, an encoded value takes; otherwise it stays as it is. */
const ENCODED_SHARE_MAX = 7 / 8;
const ENCODER_OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** Each such part of a large value is a frame. */
const FRAME_BYTES = 1024 * 1024;

/** Name of the temp file of a shard's upload that is being recoded. */
export function recodedPath(directory: string, shardIndex: number, count: number): string {
  return join(directory, `${prefixOf(shardIndex)}${count.toString(16)}.tmp`);
}

/** Removes what a thread that had this shard before has left: nobody goes on with that. */
export function removeRecoded(fileSystem: FileSystem, directory: string, shardIndex: number): void {
  for (const name of fileSystem.listDirectory(directory)) {
    if (name.startsWith(prefixOf(shardIndex))) removeQuietly(fileSystem, join(directory, name));
  }
}

function prefixOf(shardIndex: number): string {
  return `shard-${shardIndex}-`;
}

/** @returns the encoding that the upload is to get; undefined where it keeps the one that it came in. */
export function targetEncoding(atRest: AtRest, request: PutRequest): Encoding | undefined {
  const { contentAddressed, encoding, sizeBytes } = request;
  if (atRest === "as-uploaded" || !contentAddressed || encoding === ENCODINGS[atRest]) return undefined;
  return atRest === "zstd" && sizeBytes < ENCODED_BYTES_MIN ? undefined : atRest;
}

/** A value in memory, verified, in another encoding. @returns undefined where that does not pay. */
export function recode(
  target: Encoding,
  { sizeBytes }: PutRequest,
  payload: readonly Uint8Array[],
): Buffer | undefined {
  if (target === "identity") return decodeZstd(payload, sizeBytes);
  // A copy, because the slab is shared memory, which zlib does not take.
  const encoded = zstdCompressSync(Buffer.concat(payload), ENCODER_OPTIONS);
  return encoded.length <= sizeBytes * ENCODED_SHARE_MAX ? encoded : undefined;
}

/**
 * A large upload in another encoding: written beside what was staged, to a temp file that is to be adopted, which verifies
 * it. Where there is no room for it, or something is wrong with the bytes, the upload goes on as it came.
 * @returns what to adopt; undefined where the upload stays as it is.
 */
export function* recodeFile(
  context: ShardContext,
  request: PutRequest,
  path: string,
): Generator<undefined, PutRequest | undefined> {
  const { atRest, fileSystem, ledger, index, keepFreeBytes } = context;
  const target = targetEncoding(atRest, request);
  if (target === undefined || !isLongPut(request)) return undefined;
  if (index.find(keyWords(request.key), request.space) !== undefined) return undefined;
  const { sizeBytes } = request;
  const bytesMax = target === "identity" ? sizeBytes : Math.floor(sizeBytes * ENCODED_SHARE_MAX);
  if (!ledger.tryReserve(adoptedFileBytes(bytesMax), keepFreeBytes)) return undefined;
  let writtenBytes: number | undefined;
  try {
    const fd = fileSystem.open(path, "create");
    try {
      writtenBytes = yield* writeRecoded(context, request, target, fd, bytesMax);
    } finally {
      fileSystem.close(fd);
    }
  } catch {
    // Its check, or its adoption as it is, meets the same fault and tells of it.
  }
  if (writtenBytes === undefined) {
    removeQuietly(fileSystem, path);
    ledger.release(adoptedFileBytes(bytesMax));
    return undefined;
  }
  ledger.release(adoptedFileBytes(bytesMax) - adoptedFileBytes(writtenBytes));
  return {
    ...request,
    encoding: ENCODINGS[target],
    stagedBytes: writtenBytes,
    source: { kind: "file", path },
    adopt: true,
  };
}

/** @returns the bytes written; undefined where they are more than it is to take. */
function* writeRecoded(
  context: ShardContext,
  request: PutRequest,
  target: Encoding,
  fd: number,
  bytesMax: number,
): Generator<undefined, number | undefined> {
  using decoder = target === "identity" ? new ZstdDecoder(request.sizeBytes) : undefined;
  let writtenBytes = 0;
  let sliceBytes = 0;
  for (const piece of stagedPieces(context, request)) {
    const parts = decoder === undefined ? [zstdCompressSync(piece, ENCODER_OPTIONS)] : decoder.decode(piece);
    for (const part of parts) {
      if (writtenBytes + part.length > bytesMax) return undefined;
      writeFully(context.fileSystem, fd, [part], ADOPTED_PAYLOAD_OFFSET + writtenBytes);
      writtenBytes += part.length;
      sliceBytes += Math.max(part.length, decoder === undefined ? piece.length : 0);
      if (sliceBytes < CHECK_SLICE_BYTES) continue;
      sliceBytes = 0;
      yield;
    }
  }
  decoder?.end();
  return writtenBytes;
}

/** What was staged, in memory of its own and in parts that are not large. */
function* stagedPieces(context: ShardContext, request: PutRequest): Generator<Buffer> {
  const { source, stagedBytes } = request;
  if (source.kind === "slab") {
    for (const piece of readStaged(context, request)) yield Buffer.from(piece);
    return;
  }
  const { fileSystem } = context;
  const fd = fileSystem.open(source.path, "read");
  try {
    const buffer = Buffer.allocUnsafe(Math.min(FRAME_BYTES, stagedBytes));
    for (let at = 0; at < stagedBytes; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, stagedBytes - at));
      yield piece.subarray(0, readFully(fileSystem, fd, piece, ADOPTED_PAYLOAD_OFFSET + at));
    }
  } finally {
    fileSystem.close(fd);
  }
}
