/**
 * Codecs of BatchReadBlobs, which carries bytes of many small blobs. Written by hand for the same reason as
 * proto-byte-stream-codec.ts, and held against protobufjs in the same way.
 */
import type { BatchReadBlobsRequest, BatchReadBlobsResponse, BatchReadBlobsResponseEntry } from "./messages.ts";
import { asBuffer, statusCodec } from "./proto-definitions.ts";
import { anyDigestBytesMax, readDigestField, varintBytes, writeAnyDigest, writeVarint } from "./proto-digest-codec.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";

const INSTANCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const DIGESTS = (2 << 3) | WIRE_TYPES.lengthDelimited;
const COMPRESSOR = (3 << 3) | WIRE_TYPES.varint;
const COMPRESSORS_PACKED = (3 << 3) | WIRE_TYPES.lengthDelimited;
const DIGEST_FUNCTION = (4 << 3) | WIRE_TYPES.varint;

const RESPONSES = (1 << 3) | WIRE_TYPES.lengthDelimited;
const RESPONSE_DIGEST = (1 << 3) | WIRE_TYPES.lengthDelimited;
const RESPONSE_DATA = (2 << 3) | WIRE_TYPES.lengthDelimited;
const RESPONSE_STATUS = (3 << 3) | WIRE_TYPES.lengthDelimited;
const RESPONSE_COMPRESSOR = (4 << 3) | WIRE_TYPES.varint;

const NO_BYTES = Buffer.alloc(0);
/** Tags and lengths of one response. */
const FRAME_BYTES_MAX = 5 + 3 * (1 + 5) + (1 + 5);
/** Larger data is sent from where it lies; smaller is copied next to what describes it. */
const COPIED_BYTES_MAX = 16 * 1024;

/**
 * Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeBatchReadBlobsRequest(bytes: Buffer): BatchReadBlobsRequest {
  const reader = new ProtoWireReader(bytes);
  const request: BatchReadBlobsRequest = {
    instance_name: "",
    digests: [],
    acceptable_compressors: [],
    digest_function: 0,
  };
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === DIGESTS) request.digests.push(readDigestField(reader));
    else if (tag === INSTANCE_NAME) request.instance_name = reader.string();
    else if (tag === DIGEST_FUNCTION) request.digest_function = reader.int32();
    else if (tag === COMPRESSOR) request.acceptable_compressors.push(reader.int32());
    else if (tag === COMPRESSORS_PACKED) readPacked(reader, request.acceptable_compressors);
    else reader.skipUnknown(tag, [1, 2, 3, 4]);
  }
  return request;
}

function readPacked(reader: ProtoWireReader, values: number[]): void {
  const end = reader.enter();
  while (reader.position < end) values.push(reader.int32());
  reader.leave(end);
}

export function encodeBatchReadBlobsResponse(response: BatchReadBlobsResponse): Buffer {
  const pieces = batchReadBlobsResponsePieces(response);
  return pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces);
}

/** The same message without a copy of large data. */
export function batchReadBlobsResponsePieces({ responses }: BatchReadBlobsResponse): readonly Buffer[] {
  const writer = new PiecesWriter(responses);
  for (const entry of responses) writer.add(entry);
  return writer.end();
}

/** Writes everything but large data into one buffer. */
class PiecesWriter {
  readonly #bytes: Buffer;
  readonly #pieces: Buffer[] = [];
  #pieceStart = 0;
  #at = 0;

  constructor(responses: readonly BatchReadBlobsResponseEntry[]) {
    let bytesMax = 0;
    for (const { digest, data, status } of responses) {
      bytesMax += FRAME_BYTES_MAX + (digest === null ? 0 : anyDigestBytesMax(digest));
      if (data.length <= COPIED_BYTES_MAX) bytesMax += data.length;
      if (status !== null) bytesMax += encodeStatus(status).length;
    }
    this.#bytes = Buffer.allocUnsafe(bytesMax);
  }

  add({ digest, data, compressor, status }: BatchReadBlobsResponseEntry): void {
    const bytes = this.#bytes;
    // How long the digest is turns out as it is written: behind the room for all that comes before it.
    const digestAt = this.#at + FRAME_BYTES_MAX;
    const digestBytes = digest === null ? 0 : writeAnyDigest(bytes, digestAt, digest) - digestAt;
    const statusBytes = status === null ? NO_BYTES : encodeStatus(status);
    let lengthBytes = digest === null ? 0 : 1 + varintBytes(digestBytes) + digestBytes;
    if (data.length > 0) lengthBytes += 1 + varintBytes(data.length) + data.length;
    if (status !== null) lengthBytes += 1 + varintBytes(statusBytes.length) + statusBytes.length;
    if (compressor !== 0) lengthBytes += 1 + varintBytes(compressor);

    this.#head(RESPONSES, lengthBytes);
    if (digest !== null) {
      this.#head(RESPONSE_DIGEST, digestBytes);
      bytes.copyWithin(this.#at, digestAt, digestAt + digestBytes);
      this.#at += digestBytes;
    }
    if (status !== null) {
      this.#head(RESPONSE_STATUS, statusBytes.length);
      this.#at += statusBytes.copy(bytes, this.#at);
    }
    if (compressor !== 0) this.#head(RESPONSE_COMPRESSOR, compressor);
    if (data.length > 0) this.#data(asBuffer(data));
  }

  end(): readonly Buffer[] {
    this.#seal();
    return this.#pieces;
  }

  /** A tag and what comes right behind it: a length, or a small number. */
  #head(tag: number, value: number): void {
    this.#bytes[this.#at++] = tag;
    this.#at = writeVarint(this.#bytes, this.#at, value);
  }

  #data(data: Buffer): void {
    this.#head(RESPONSE_DATA, data.length);
    if (data.length <= COPIED_BYTES_MAX) {
      this.#at += data.copy(this.#bytes, this.#at);
      return;
    }
    this.#seal();
    this.#pieces.push(data);
  }

  #seal(): void {
    if (this.#at > this.#pieceStart) this.#pieces.push(this.#bytes.subarray(this.#pieceStart, this.#at));
    this.#pieceStart = this.#at;
  }
}

/** OK is the empty message. */
function encodeStatus(status: NonNullable<BatchReadBlobsResponseEntry["status"]>): Buffer {
  return status.code === 0 ? NO_BYTES : statusCodec.encode(status);
}
