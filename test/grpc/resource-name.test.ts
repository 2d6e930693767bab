import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { DIGEST_FUNCTIONS, type DigestFunctionName } from "../../src/cache/digest.ts";
import { checkInstanceName } from "../../src/cache/instance-name.ts";
import {
  type BlobName,
  type UploadName,
  RESOURCE_NAME_CHARACTERS_MAX,
  formatBlobName,
  formatUploadName,
  parseBlobName,
  parseUploadName,
} from "../../src/grpc/resource-name.ts";

const HASH = "0123456789abcdef".repeat(4);
const DIGEST = { fn: "sha256", hash: HASH, sizeBytes: 42 } as const;
const EMPTY = DIGEST_FUNCTIONS.sha256.emptyHash;
const RESERVED = ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"];

const FUNCTIONS = Object.keys(DIGEST_FUNCTIONS) as DigestFunctionName[];

function hashOf(fn: DigestFunctionName): string {
  return "0123456789abcdef".repeat(8).slice(0, DIGEST_FUNCTIONS[fn].hashBytes * 2);
}

function blobOf(fn: DigestFunctionName): BlobName {
  return { instanceName: "", compressor: "identity", digest: { fn, hash: hashOf(fn), sizeBytes: 42 } };
}

describe("blob names", () => {
  test.each<[string, BlobName]>([
    [`blobs/${HASH}/42`, { instanceName: "", compressor: "identity", digest: DIGEST }],
    [`main/blobs/${HASH}/42`, { instanceName: "main", compressor: "identity", digest: DIGEST }],
    [`a/b/c/blobs/${HASH}/42`, { instanceName: "a/b/c", compressor: "identity", digest: DIGEST }],
    [
      `blobs/${EMPTY}/0`,
      { instanceName: "", compressor: "identity", digest: { fn: "sha256", hash: EMPTY, sizeBytes: 0 } },
    ],
    [`compressed-blobs/zstd/${HASH}/42`, { instanceName: "", compressor: "zstd", digest: DIGEST }],
    [`x/compressed-blobs/deflate/${HASH}/42`, { instanceName: "x", compressor: "deflate", digest: DIGEST }],
    [`compressed-blobs/brotli/${HASH}/42`, { instanceName: "", compressor: "brotli", digest: DIGEST }],
    [`blobs/${hashOf("md5")}/42`, blobOf("md5")],
    [`blobs/${hashOf("sha1")}/42`, blobOf("sha1")],
    [`blobs/${hashOf("sha384")}/42`, blobOf("sha384")],
    [`blobs/${hashOf("sha512")}/42`, blobOf("sha512")],
    [`blobs/blake3/${HASH}/42`, blobOf("blake3")],
    [`blobs/sha256tree/${HASH}/42`, blobOf("sha256tree")],
    [`blobs/gitsha1/${hashOf("gitsha1")}/42`, blobOf("gitsha1")],
    [`a/compressed-blobs/zstd/blake3/${HASH}/42`, { ...blobOf("blake3"), instanceName: "a", compressor: "zstd" }],
  ])("%s is read", (name, expected) => {
    expect(parseBlobName(name)).toEqual(expected);
    expect(formatBlobName(expected)).toBe(name);
  });

  test.each([
    ["an empty name", ""],
    ["a slash in front", `/blobs/${HASH}/42`],
    ["an empty instance segment", `a//blobs/${HASH}/42`],
    ["a slash at the end", `blobs/${HASH}/42/`],
    ["metadata, which only uploads have", `blobs/${HASH}/42/more`],
    ["no size", `blobs/${HASH}`],
    ["an empty size", `blobs/${HASH}/`],
    ["no hash", "blobs/42"],
    ["nothing after blobs", "blobs"],
    ["an instance only", "main"],
    ["an upload name", `uploads/id/blobs/${HASH}/42`],
    ["a negative size", `blobs/${HASH}/-1`],
    ["a signed size", `blobs/${HASH}/+1`],
    ["a fractional size", `blobs/${HASH}/4.2`],
    ["a size with an exponent", `blobs/${HASH}/1e3`],
    ["a hexadecimal size", `blobs/${HASH}/0x10`],
    ["a size with a leading zero", `blobs/${HASH}/042`],
    ["a size with a blank", `blobs/${HASH}/42 `],
    ["a size past what is safe", `blobs/${HASH}/9007199254740993`],
    ["a size of 64 digits", `blobs/${HASH}/${"9".repeat(64)}`],
    ["an upper-case hash", `blobs/${HASH.toUpperCase()}/42`],
    ["a short hash", `blobs/${HASH.slice(1)}/42`],
    ["a long hash", `blobs/${HASH}0/42`],
    ["a hash of another alphabet", `blobs/${"g".repeat(64)}/42`],
    ["a hash with a line end", `blobs/${HASH.slice(1)}\n/42`],
    ["size 0 with another hash", `blobs/${HASH}/0`],
    ["the empty hash with a size", `blobs/${EMPTY}/1`],
    ["a function segment for SHA-256", `blobs/sha256/${HASH}/42`],
    ["a function segment for MD5", `blobs/md5/${HASH}/42`],
    ["a hash of another function's length", `blobs/gitsha1/${HASH}/42`],
    ["the same function twice", `blobs/blake3/blake3/${HASH}/42`],
    ["a function segment for SHA-1", `blobs/sha1/${hashOf("sha1")}/42`],
    ["a function that is not supported", `blobs/vso/${HASH}/42`],
    ["a function in upper case", `blobs/BLAKE3/${HASH}/42`],
    ["an unknown function", `blobs/crc32/${HASH}/42`],
    ["an unknown compressor", `compressed-blobs/lzma/${HASH}/42`],
    ["identity as a compressor", `compressed-blobs/identity/${HASH}/42`],
    ["a compressor in upper case", `compressed-blobs/ZSTD/${HASH}/42`],
    ["no compressor", `compressed-blobs/${HASH}/42`],
    ["a property of every object as a function", `blobs/constructor/${HASH}/42`],
    ["too many characters", `${"a/".repeat(RESOURCE_NAME_CHARACTERS_MAX / 2)}blobs/${HASH}/42`],
    ...RESERVED.map((word): [string, string] => [`${word} in the instance`, `a/${word}/blobs/${HASH}/42`]),
  ])("%s is refused", (_, name) => {
    expect(() => parseBlobName(name)).toThrow(
      expect.objectContaining({ name: "CacheError", code: "invalid_argument" }),
    );
  });
});

describe("upload names", () => {
  const upload: UploadName = {
    instanceName: "",
    uploadId: "3f1c",
    compressor: "identity",
    digest: DIGEST,
    metadata: undefined,
  };

  test.each<[string, UploadName]>([
    [`uploads/3f1c/blobs/${HASH}/42`, upload],
    [`a/b/uploads/3f1c/blobs/${HASH}/42`, { ...upload, instanceName: "a/b" }],
    [`uploads/3f1c/compressed-blobs/zstd/${HASH}/42`, { ...upload, compressor: "zstd" }],
    [`uploads/3f1c/blobs/blake3/${HASH}/42`, { ...upload, ...blobOf("blake3") }],
    [`uploads/3f1c/blobs/${HASH}/42/`, { ...upload, metadata: "" }],
    [`uploads/3f1c/blobs/${HASH}/42/out/lib.a`, { ...upload, metadata: "out/lib.a" }],
    [`uploads/3f1c/blobs/${HASH}/42/blobs//x/`, { ...upload, metadata: "blobs//x/" }],
  ])("%s is read", (name, expected) => {
    expect(parseUploadName(name)).toEqual(expected);
    expect(formatUploadName(expected)).toBe(name);
  });

  test.each([
    ["a blob name", `blobs/${HASH}/42`],
    ["an empty upload id", `uploads//blobs/${HASH}/42`],
    ["no upload id", `uploads/blobs/${HASH}/42`],
    ["nothing after the id", "uploads/3f1c"],
    ["another word than blobs", `uploads/3f1c/actions/${HASH}/42`],
    ["two upload prefixes", `uploads/1/uploads/2/blobs/${HASH}/42`],
    ["no size", `uploads/3f1c/blobs/${HASH}`],
    ["a function segment for SHA-256", `uploads/3f1c/blobs/sha256/${HASH}/42`],
    ...RESERVED.map((word): [string, string] => [`${word} in the instance`, `${word}/uploads/1/blobs/${HASH}/42`]),
  ])("%s is refused", (_, name) => {
    expect(() => parseUploadName(name)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });
});

describe("instance names", () => {
  test.each(["", "main", "a/b", "blob", "Blobs", "ünï/çødé"])("%j is accepted", (name) => {
    expect(checkInstanceName(name)).toBe(name);
  });
  test.each(["/", "/a", "a/", "a//b", ...RESERVED, "a/blobs", "uploads/b"])("%j is refused", (name) => {
    expect(() => checkInstanceName(name)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });
});

describe("properties (fast-check prints its seed)", () => {
  const segment = fc
    .string({ minLength: 1, maxLength: 12 })
    .map((text) => text.replaceAll("/", "_"))
    .filter((text) => !RESERVED.includes(text));
  const instanceName = fc.array(segment, { maxLength: 4 }).map((segments) => segments.join("/"));
  const digest = fc.constantFrom(...FUNCTIONS).chain((fn) => {
    const { hashBytes, emptyHash } = DIGEST_FUNCTIONS[fn];
    const hash = fc
      .uint8Array({ minLength: hashBytes, maxLength: hashBytes })
      .map((bytes) => Buffer.from(bytes).toString("hex"))
      .filter((hex) => hex !== emptyHash);
    return fc.record({
      fn: fc.constant(fn),
      hash,
      sizeBytes: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    });
  });
  const compressor = fc.constantFrom("identity", "zstd", "deflate", "brotli");
  const blobName = fc.record({ instanceName, compressor, digest });
  const uploadName = fc.record({
    instanceName,
    compressor,
    digest,
    uploadId: segment,
    metadata: fc.option(fc.string({ maxLength: 30 }), { nil: undefined }),
  });

  test("every blob name survives being formatted and parsed", () => {
    fc.assert(
      fc.property(blobName, (name) => {
        expect(parseBlobName(formatBlobName(name))).toEqual(name);
      }),
    );
  });

  test("every upload name survives being formatted and parsed", () => {
    fc.assert(
      fc.property(uploadName, (name) => {
        expect(parseUploadName(formatUploadName(name))).toEqual(name);
      }),
    );
  });

  const piece = fc.oneof(
    fc.constantFrom(
      ...RESERVED,
      "zstd",
      "identity",
      "sha256",
      "blake3",
      "BLAKE3",
      "gitsha1",
      HASH,
      hashOf("sha1"),
      EMPTY,
      "0",
      "42",
      "-1",
      "",
      "..",
    ),
    fc.string({ maxLength: 8 }),
  );
  const garbage = fc.oneof(
    fc.string({ unit: "binary", maxLength: 200 }),
    fc.array(piece, { maxLength: 9 }).map((pieces) => pieces.join("/")),
  );

  test.each([
    ["blob", (name: string) => formatBlobName(parseBlobName(name))],
    ["upload", (name: string) => formatUploadName(parseUploadName(name))],
  ])("anything is either a %s name in its only form or an invalid argument", (_, reformat) => {
    const accepted = (name: string): boolean => {
      try {
        return reformat(name) === name;
      } catch (error) {
        return error instanceof CacheError && error.code === "invalid_argument" && error.message.length < 1000;
      }
    };
    fc.assert(fc.property(garbage, accepted), { numRuns: 3000 });
  });
});
