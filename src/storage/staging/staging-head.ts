import { hash } from "node:crypto";
import { crc32 } from "node:zlib";
import { BOOT_ID_BYTES } from "../boot-id.ts";
import { ADOPTED_PAYLOAD_OFFSET } from "../shard/adoption.ts";

/**
 * The start of the temp file of an upload that has a name, all integers little-endian. It stands where the headers of
 * a segment go once the file is adopted, and tells a later process what it may go on with:
 *
 *     0 magic "KURAUPL1" · 8 boot 16 bytes · 24 SHA-256 of the name · 56 size of the blob u64
 *    64 noted bytes u64 · 72 CRC-32 of the noted bytes u32 · 76 zeros · 140 CRC-32 of 0..139 u32
 *   144 payload, as far as it has come
 *
 * The payload is written from front to back, one write at a time. So what the file holds is what the client has sent,
 * for as long as the kernel runs that took the writes. A part that an orderly stop has synced is noted with its
 * checksum: it counts after a power cut too.
 */
export interface StagingHead {
  /** Of the kernel under which the payload was written; zeros where it is not known. */
  readonly boot: Uint8Array;
  /** See {@link hashUploadName}. */
  readonly name: Uint8Array;
  readonly sizeBytes: number;
  readonly notedBytes: number;
  readonly notedChecksum: number;
}

export const STAGING_HEAD_BYTES = ADOPTED_PAYLOAD_OFFSET;
const MAGIC = Buffer.from("KURAUPL1");
const NAME_BYTES = 32;
const NAME_AT = 8 + BOOT_ID_BYTES;
const SIZE_AT = NAME_AT + NAME_BYTES;
const CHECKSUM_AT = STAGING_HEAD_BYTES - 4;

/** Names are long and of many forms; the file needs no more than to recognise its own. */
export function hashUploadName(name: string): Uint8Array {
  return hash("sha256", name, "buffer");
}

/** The head of a file of which nothing is noted. */
export function freshStagingHead(name: Uint8Array, sizeBytes: number, boot: Uint8Array | undefined): StagingHead {
  return { boot: boot ?? Buffer.alloc(BOOT_ID_BYTES), name, sizeBytes, notedBytes: 0, notedChecksum: 0 };
}

export function encodeStagingHead({ boot, name, sizeBytes, notedBytes, notedChecksum }: StagingHead): Buffer {
  const bytes = Buffer.alloc(STAGING_HEAD_BYTES);
  MAGIC.copy(bytes);
  bytes.set(boot, 8);
  bytes.set(name, NAME_AT);
  bytes.writeBigUInt64LE(BigInt(sizeBytes), SIZE_AT);
  bytes.writeBigUInt64LE(BigInt(notedBytes), SIZE_AT + 8);
  bytes.writeUInt32LE(notedChecksum, SIZE_AT + 16);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, CHECKSUM_AT)), CHECKSUM_AT);
  return bytes;
}

/** @returns undefined where the bytes are no such head. */
export function decodeStagingHead(bytes: Buffer): StagingHead | undefined {
  if (bytes.length < STAGING_HEAD_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  if (crc32(bytes.subarray(0, CHECKSUM_AT)) !== bytes.readUInt32LE(CHECKSUM_AT)) return undefined;
  const head = {
    boot: Buffer.from(bytes.subarray(8, NAME_AT)),
    name: Buffer.from(bytes.subarray(NAME_AT, SIZE_AT)),
    sizeBytes: Number(bytes.readBigUInt64LE(SIZE_AT)),
    notedBytes: Number(bytes.readBigUInt64LE(SIZE_AT + 8)),
    notedChecksum: bytes.readUInt32LE(SIZE_AT + 16),
  };
  return Number.isSafeInteger(head.sizeBytes) && head.notedBytes <= head.sizeBytes ? head : undefined;
}

/**
 * Bytes of the payload that a later process may go on with, if the noted ones among them have their checksum.
 * @param payloadBytes what the file holds behind the head.
 * @param boot of the kernel that runs now.
 */
export function trustedBytes(head: StagingHead, payloadBytes: number, boot: Uint8Array | undefined): number {
  if (payloadBytes > head.sizeBytes || payloadBytes < head.notedBytes) return 0;
  const isSameBoot = boot !== undefined && Buffer.compare(head.boot, boot) === 0;
  return isSameBoot ? payloadBytes : head.notedBytes;
}
