import { constants, type ZstdDecompress, zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { CacheError } from "../../src/cache/cache-error.ts";
import { ZstdDecoder } from "../../src/cache/zstd/zstd-decoder.ts";
import { DecodedContent } from "../../src/cache/zstd/zstd-streams.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { textOf } from "../support/zstd-data.ts";
import { check, type FuzzTarget } from "./fuzz-target.ts";
import { mutateBytes } from "./mutation.ts";

const PART_BYTES_MAX = 128 * 1024;
const VALUE_BYTES_MAX = 400_000;
const WINDOW_LOG_MAX = 24;

/** Zstd data of one or more frames, sound and mutated, in pieces of any size, against node's decoder of one frame. */
export class ZstdTarget implements FuzzTarget {
  readonly figures = { runs: 0, valid: 0, refused: 0, streamed: 0 };

  async run(seed: number): Promise<void> {
    const random = seededRandom(seed);
    this.figures.runs++;
    const data = mutated(random, framesOf(random));
    const expected = reference(data);
    // What is promised is the size; it may be wrong as well.
    const valueBytes = expected?.length ?? random.int(0, VALUE_BYTES_MAX);
    const sizeBytes =
      random.fraction() < 0.8 ? valueBytes : Math.max(0, valueBytes + random.pick([-1, 1, -1000, 1000]));
    const pieces = piecesOf(random, data);
    const got = decode(pieces, sizeBytes);
    const isValid = expected !== undefined && expected.length === sizeBytes;
    check(
      isValid ? got !== undefined && got.equals(expected) : got === undefined,
      () => `expected ${isValid ? `${sizeBytes} bytes` : "a refusal"}, got ${got?.length ?? "a refusal"}`,
    );
    if (!isValid) {
      this.figures.refused++;
      return;
    }
    this.figures.valid++;
    if (sizeBytes === 0 || random.fraction() > 0.2) return;
    this.figures.streamed++;
    const offset = random.int(0, sizeBytes);
    const limit = random.int(0, sizeBytes);
    const part = await new DecodedContent(storedAs(pieces, sizeBytes), { offset, limit }).bytes();
    check(part.equals(expected.subarray(offset, offset + limit)), () => `a stream from ${offset}, ${limit} bytes`);
  }
}

function framesOf(random: SeededRandom): Buffer {
  const parts = Array.from({ length: random.pick([1, 1, 1, 2, 5]) }, () => {
    if (random.fraction() < 0.2) {
      const skipped = random.bytes(random.int(0, 20));
      const head = Buffer.alloc(8);
      head.writeUInt32LE(0x184d2a50 + random.int(0, 15), 0);
      head.writeUInt32LE(skipped.length, 4);
      return Buffer.concat([head, skipped]);
    }
    const sizeBytes = random.pick([0, 1, 255, 256, 4096, 66_000, 130_000, 140_000]);
    const value = random.pick([random.bytes(sizeBytes), textOf(random, sizeBytes), Buffer.alloc(sizeBytes, 7)]);
    return zstdCompressSync(value, {
      params: {
        [constants.ZSTD_c_compressionLevel]: random.pick([-5, 1, 3, 9]),
        [constants.ZSTD_c_checksumFlag]: random.int(0, 1),
        [constants.ZSTD_c_contentSizeFlag]: random.int(0, 1),
        [constants.ZSTD_c_windowLog]: random.pick([10, 17, 21]),
      },
    });
  });
  return Buffer.concat(parts);
}

function mutated(random: SeededRandom, data: Buffer): Buffer {
  if (random.fraction() < 0.4) return data;
  if (random.fraction() < 0.5) return mutateBytes(random, data);
  // Near its beginning are the headers.
  const head = data.subarray(0, 20);
  return Buffer.concat([mutateBytes(random, head), data.subarray(20)]);
}

function piecesOf(random: SeededRandom, data: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  const stepMax = random.pick([3, 50, 5000, data.length + 1]);
  // Single bytes of all of it would take too long.
  const smallEnd = stepMax < 5000 ? Math.min(data.length, 2000) : data.length;
  for (let at = 0; at < data.length;) {
    const end = at < smallEnd ? Math.min(data.length, at + random.int(1, stepMax)) : data.length;
    pieces.push(data.subarray(at, end));
    at = end;
  }
  return pieces;
}

/** @returns undefined where it is refused. */
function decode(pieces: readonly Buffer[], sizeBytes: number): Buffer | undefined {
  using decoder = new ZstdDecoder(sizeBytes);
  const parts: Buffer[] = [];
  let decodedBytes = 0;
  try {
    for (const piece of pieces) {
      for (const part of decoder.decode(piece)) {
        decodedBytes += part.length;
        check(part.length <= PART_BYTES_MAX, () => `a part of ${part.length} bytes`);
        check(decodedBytes <= sizeBytes, () => `${decodedBytes} bytes where ${sizeBytes} were promised`);
        parts.push(Buffer.from(part));
      }
    }
    decoder.end();
    return Buffer.concat(parts);
  } catch (error) {
    check(error instanceof CacheError && error.code === "invalid_argument", () => String(error));
    return undefined;
  }
}

/** Frame by frame with node's own decoder, which tells how much of the data was the first frame. */
function reference(data: Buffer): Buffer | undefined {
  const values: Buffer[] = [];
  for (let at = 0; at < data.length;) {
    const rest = data.subarray(at);
    if (rest.length >= 8 && rest.readUInt32LE(0) >>> 4 === 0x184d2a5) {
      at += 8 + rest.readUInt32LE(4);
      if (at > data.length) return undefined;
      continue;
    }
    if (windowBytes(rest) > 2 ** WINDOW_LOG_MAX) return undefined;
    try {
      const { buffer, engine } = zstdDecompressSync(rest, {
        info: true,
        params: { [constants.ZSTD_d_windowLogMax]: WINDOW_LOG_MAX },
        maxOutputLength: VALUE_BYTES_MAX * 4,
      }) as unknown as { buffer: Buffer; engine: ZstdDecompress };
      values.push(buffer);
      at += engine.bytesWritten;
    } catch {
      return undefined;
    }
  }
  return Buffer.concat(values);
}

/** What a frame asks for; 0 where it is not known yet. */
function windowBytes(frame: Buffer): number {
  const descriptor = frame[4] ?? 0;
  const sizeFlag = descriptor >>> 6;
  if ((descriptor & 0x20) === 0) return (8 + ((frame[5] ?? 0) & 7)) * 2 ** (7 + ((frame[5] ?? 0) >>> 3));
  const at = 5 + [0, 1, 2, 4][descriptor & 3]!;
  const fields = [1, 2, 4, 8][sizeFlag]!;
  if (frame.length < at + fields) return 0;
  const low = frame.readUIntLE(at, Math.min(4, fields)) + (fields === 2 ? 256 : 0);
  return fields === 8 ? low + frame.readUInt32LE(at + 4) * 2 ** 32 : low;
}

function storedAs(pieces: readonly Buffer[], sizeBytes: number) {
  return {
    sizeBytes,
    encoding: "zstd" as const,
    bytes: () => Buffer.concat(pieces),
    close: () => undefined,
    async *[Symbol.asyncIterator]() {
      yield* pieces;
    },
  };
}
