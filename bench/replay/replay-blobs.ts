import { createCipheriv, hash, hkdfSync } from "node:crypto";
import type { ExpectedBlob } from "../blob-check.ts";
import { digest } from "../cas-workloads.ts";
import { bytesField } from "../proto-fields.ts";
import type { Recording } from "./recording.ts";

const NO_STAMP = Buffer.alloc(0);
const FILE_NAME_BYTES_MAX = 120;

/** A blob of a replay, whole. */
export interface ReplayBlob extends ExpectedBlob {
  readonly content: Buffer;
  /** A Digest message. */
  readonly digest: Buffer;
}

/**
 * Contents for the blobs of a recording, by number: incompressible, and the same for the same seed. A Tree is a real
 * one, which lists its files, as the server looks into it; the file names are as long as its recorded size asks for.
 */
export function makeReplayBlobs(recording: Recording, seed: string): ReplayBlob[] {
  const key = Buffer.from(hkdfSync("sha256", seed, "", "replay", 16));
  const blobs = recording.blobBytes.map((sizeBytes, number) => {
    if (recording.trees.has(number)) return undefined;
    const iv = Buffer.alloc(16);
    iv.writeUInt32BE(number);
    return makeBlob(createCipheriv("aes-128-ctr", key, iv).update(Buffer.alloc(sizeBytes)));
  });
  return blobs.map((blob, number) => {
    if (blob !== undefined) return blob;
    const files = (recording.trees.get(number) ?? []).map((file) => blobs[file]?.digest ?? emptyDigest());
    return makeBlob(encodeTree(files, recording.blobBytes[number] ?? 0, `${seed}-${number}`));
  });
}

function makeBlob(content: Buffer): ReplayBlob {
  const plain = { hash: hash("sha256", content, "hex"), sizeBytes: content.length };
  return { ...plain, stamp: NO_STAMP, content, digest: digest(plain) };
}

function emptyDigest(): Buffer {
  return makeBlob(Buffer.alloc(0)).digest;
}

/** @param name of the only file of a Tree without files, so that no two are alike. */
function encodeTree(files: readonly Buffer[], sizeBytes: number, name: string): Buffer {
  const encode = (nameBytes: number): Buffer => {
    const nodes = files.map((fileDigest, i) => {
      const fileName = `${i}`.padStart(4, "0").padEnd(nameBytes, "x");
      return bytesField(1, Buffer.concat([bytesField(1, Buffer.from(fileName)), bytesField(2, fileDigest)]));
    });
    const symlink = bytesField(3, Buffer.concat([bytesField(1, Buffer.from(name)), bytesField(2, Buffer.from("."))]));
    return bytesField(1, Buffer.concat(files.length > 0 ? nodes : [symlink]));
  };
  const spare = sizeBytes - encode(0).length;
  return encode(Math.min(FILE_NAME_BYTES_MAX, Math.max(0, 4 + Math.floor(spare / Math.max(1, files.length)))));
}
