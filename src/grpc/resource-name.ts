import { CacheError } from "../cache/cache-error.ts";
import { type Digest, type DigestFunctionName, parseDigest } from "../cache/digest.ts";
import { RESERVED_SEGMENTS } from "../cache/instance-name.ts";

/** `Compressor.Value` in lower case. Which of them are offered is for the service to say. */
export type CompressorName = "identity" | "zstd" | "deflate" | "brotli";

/** What a client reads: `{instance/}blobs/{fn/}{hash}/{size}` or `{instance/}compressed-blobs/{compressor}/...`. */
export interface BlobName {
  /** Segments joined by `/`; may be empty. */
  readonly instanceName: string;
  readonly compressor: CompressorName;
  readonly digest: Digest;
}

/** What a client writes: a blob name behind `{instance/}uploads/{uuid}/`, with anything it likes at the end. */
export interface UploadName extends BlobName {
  readonly uploadId: string;
  /** What follows the size and its slash. It has no meaning to the server. */
  readonly metadata: string | undefined;
}

/** Names are keys of a bounded table, so they are bounded as well. */
export const RESOURCE_NAME_CHARACTERS_MAX = 4096;

/** The length of the hash tells these apart, so their names have no function segment. */
const FUNCTIONS_WITHOUT_SEGMENT: ReadonlySet<string> = new Set([
  "md5",
  "murmur3",
  "sha1",
  "sha256",
  "sha384",
  "sha512",
  "vso",
]);
const FUNCTIONS_WITH_SEGMENT: ReadonlySet<string> = new Set<DigestFunctionName>(["blake3", "gitsha1", "sha256tree"]);
/** Identity has no compressed names: its blobs are under `blobs/`. */
const NAMED_COMPRESSORS: readonly string[] = ["zstd", "deflate", "brotli"] satisfies CompressorName[];
/** No leading zero, so that a blob has one name only. */
const SIZE = /^(0|[1-9][0-9]{0,15})$/;

/** @throws {CacheError} invalid_argument where it is no resource name of `ByteStream.Read`. */
export function parseBlobName(name: string): BlobName {
  const { instanceName, rest } = splitInstance(name);
  const { blob, after } = takeBlob(name, rest);
  if (after.length > 0) throw malformed(name, "expected nothing after the size");
  return { instanceName, ...blob };
}

/** @throws {CacheError} invalid_argument where it is no resource name of `ByteStream.Write`. */
export function parseUploadName(name: string): UploadName {
  const { instanceName, rest } = splitInstance(name);
  const [keyword, uploadId, ...blobSegments] = rest;
  if (keyword !== "uploads") throw malformed(name, "expected {instance/}uploads/{uuid}/ before the blob");
  if (uploadId === undefined || uploadId === "") throw malformed(name, "expected an upload id after uploads/");
  const { blob, after } = takeBlob(name, blobSegments);
  return { instanceName, uploadId, ...blob, metadata: after.length > 0 ? after.join("/") : undefined };
}

export function formatBlobName({ instanceName, compressor, digest }: BlobName): string {
  const segments = instanceName === "" ? [] : [instanceName];
  segments.push(...(compressor === "identity" ? ["blobs"] : ["compressed-blobs", compressor]));
  if (FUNCTIONS_WITH_SEGMENT.has(digest.fn)) segments.push(digest.fn);
  segments.push(digest.hash, `${digest.sizeBytes}`);
  return segments.join("/");
}

export function formatUploadName({ instanceName, uploadId, metadata, ...blob }: UploadName): string {
  const prefix = instanceName === "" ? "" : `${instanceName}/`;
  const suffix = metadata === undefined ? "" : `/${metadata}`;
  return `${prefix}uploads/${uploadId}/${formatBlobName({ instanceName: "", ...blob })}${suffix}`;
}

/** @throws {CacheError} invalid_argument where `name` tells no instance. */
export function instanceOfResourceName(name: string): string {
  return splitInstance(name).instanceName;
}

/** The instance ends at the first reserved word: none of its own segments can be one. */
function splitInstance(name: string): { instanceName: string; rest: string[] } {
  if (name.length > RESOURCE_NAME_CHARACTERS_MAX) {
    throw malformed(name, `expected at most ${RESOURCE_NAME_CHARACTERS_MAX} characters, got ${name.length}`);
  }
  const segments = name.split("/");
  const end = segments.findIndex((segment) => RESERVED_SEGMENTS.has(segment));
  if (end === -1) throw malformed(name, "expected a segment blobs, compressed-blobs or uploads");
  const instance = segments.slice(0, end);
  if (instance.includes("")) throw malformed(name, "expected no empty segment in the instance name");
  return { instanceName: instance.join("/"), rest: segments.slice(end) };
}

/** Reads `blobs/{fn/}{hash}/{size}` or `compressed-blobs/{compressor}/{fn/}{hash}/{size}` off the front. */
function takeBlob(name: string, segments: string[]) {
  const [keyword, ...rest] = segments;
  if (keyword !== "blobs" && keyword !== "compressed-blobs") {
    throw malformed(name, `expected blobs or compressed-blobs, got ${quote(keyword ?? "")}`);
  }
  const compressor = keyword === "blobs" ? "identity" : takeCompressor(name, rest);
  const fn = takeFunction(name, rest);
  const [hash, size, ...after] = rest;
  if (hash === undefined || size === undefined) throw malformed(name, "expected {hash}/{size}");
  if (!SIZE.test(size)) throw malformed(name, `expected a size in decimal, got ${quote(size)}`);
  return { blob: { compressor, digest: parseNamedDigest(name, hash, Number(size), fn) }, after };
}

function takeCompressor(name: string, rest: string[]): CompressorName {
  const compressor = rest.shift() ?? "";
  if (!isNamedCompressor(compressor)) {
    throw malformed(name, `expected a compressor (${NAMED_COMPRESSORS.join(", ")}), got ${quote(compressor)}`);
  }
  return compressor;
}

function isNamedCompressor(segment: string): segment is CompressorName {
  return NAMED_COMPRESSORS.includes(segment);
}

/** @returns undefined where the name has no such segment: the length of the hash tells the function then. */
function takeFunction(name: string, rest: string[]): DigestFunctionName | undefined {
  const segment = rest[0] ?? "";
  const lower = segment.toLowerCase();
  if (FUNCTIONS_WITHOUT_SEGMENT.has(lower)) {
    throw malformed(name, `expected no digest function segment for ${lower}, got ${quote(segment)}`);
  }
  if (!isWithSegment(lower)) return undefined;
  if (segment !== lower) throw malformed(name, `expected the digest function in lower case, got ${quote(segment)}`);
  rest.shift();
  return lower;
}

function isWithSegment(fn: string): fn is DigestFunctionName {
  return FUNCTIONS_WITH_SEGMENT.has(fn);
}

function parseNamedDigest(name: string, hash: string, sizeBytes: number, fn: DigestFunctionName | undefined): Digest {
  try {
    return parseDigest(hash, sizeBytes, fn);
  } catch (error) {
    throw error instanceof CacheError ? malformed(name, error.message) : error;
  }
}

function malformed(name: string, reason: string): CacheError {
  return new CacheError("invalid_argument", `resource_name ${quote(name)}: ${reason}`);
}

/** Client text in a message stays short. */
function quote(text: string): string {
  return JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
}
