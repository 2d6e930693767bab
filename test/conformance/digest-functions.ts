import { createHash } from "node:crypto";

/** A blob with its hash by one digest function. */
export interface Blob {
  readonly bytes: Buffer;
  readonly hash: string;
}

/** A digest function of the API, with as many blobs of known hash as a row asks for. */
export interface DigestFunction {
  /** `DigestFunction.Value` */
  readonly number: number;
  /** As in the enum. */
  readonly name: string;
  /** In resource names; undefined where the length of the hash tells the function. */
  readonly segment?: string;
  readonly hashHexDigits: number;
  /** Undefined where this suite cannot compute it and has {@link vectors} instead. */
  readonly hashOf?: (bytes: Uint8Array) => string;
  /** Known blobs, never the empty one. A server may have them from a run before. */
  readonly vectors?: readonly Blob[];
  readonly emptyHash: string;
}

function nodeFunction(number: number, name: string, algorithm: string): DigestFunction {
  const hashOf = (bytes: Uint8Array): string => createHash(algorithm).update(bytes).digest("hex");
  const emptyHash = hashOf(Buffer.alloc(0));
  return { number, name, hashHexDigits: emptyHash.length, hashOf, emptyHash };
}

function gitHash(bytes: Uint8Array): string {
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

/** The input of the test vectors of BLAKE3 and of SHA256TREE: 0, 1, 2 ... 250, and over again. */
function countingBytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, index) => index % 251));
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

const SHORT_TEXT = Buffer.from("a blob of fewer than 1025 bytes, for which SHA256TREE is SHA-256");

export const DIGEST_FUNCTIONS: readonly DigestFunction[] = [
  nodeFunction(1, "SHA256", "sha256"),
  nodeFunction(2, "SHA1", "sha1"),
  nodeFunction(3, "MD5", "md5"),
  nodeFunction(5, "SHA384", "sha384"),
  nodeFunction(6, "SHA512", "sha512"),
  {
    number: 8,
    name: "SHA256TREE",
    segment: "sha256tree",
    hashHexDigits: 64,
    vectors: [
      { bytes: SHORT_TEXT, hash: sha256(SHORT_TEXT) },
      { bytes: countingBytes(1025), hash: "36c0998b21839ef74300b9de47d96d1f62323dc81f2b4231e98ce70cd6ffe750" },
      { bytes: countingBytes(102_400), hash: "0668d69e5331840d2f1823d717b7b3f5d1fdc8a09504cddb692b87ff83d50e5f" },
    ],
    emptyHash: sha256(Buffer.alloc(0)),
  },
  {
    number: 9,
    name: "BLAKE3",
    segment: "blake3",
    hashHexDigits: 64,
    vectors: [
      { bytes: countingBytes(1), hash: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213" },
      { bytes: countingBytes(1025), hash: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444" },
      { bytes: countingBytes(102_400), hash: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085" },
    ],
    emptyHash: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
  },
  {
    number: 10,
    name: "GITSHA1",
    segment: "gitsha1",
    hashHexDigits: 40,
    hashOf: gitHash,
    emptyHash: gitHash(Buffer.alloc(0)),
  },
];
