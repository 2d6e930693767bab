import { pipeline, Readable, type Transform } from "node:stream";
import { constants, createZstdCompress, createZstdDecompress, zstdCompressSync } from "node:zlib";
import { CacheError } from "../cache-error.ts";
import type { ByteRange, EntryContent } from "../entry-store.ts";
import { Places } from "../places.ts";
import { ZSTD_DECODER_PARAMETERS } from "./zstd-decoder.ts";
import { ZstdFrames } from "./zstd-frames.ts";

/** Values that are decoded or encoded at the same time in a thread; each has a window in memory. */
const STREAMS_MAX = 32;
const WAITING_MAX = 4096;
const OUTPUT_BYTES = 256 * 1024;
/** For readers that want what is stored as it is: fast, and most of what there is to gain. */
const ENCODER_OPTIONS = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };
/** Up to here the thread's own time costs less than asking another one. */
const SYNC_BYTES_MAX = 32 * 1024;

const places = new Places("blobs are being decoded and encoded", STREAMS_MAX, WAITING_MAX);

/**
 * A value that is stored as zstd frames, for a reader who wants it as it is. It is decoded by libuv's threads, piece by
 * piece as the reader takes it.
 */
export class DecodedContent implements EntryContent {
  readonly encoding = "identity";
  readonly #stored: EntryContent;
  readonly #offset: number;
  readonly #end: number;

  /** @param stored gives the whole value, encoded. @param range lies in the value. */
  constructor(stored: EntryContent, { offset, limit = Number.POSITIVE_INFINITY }: ByteRange) {
    this.#stored = stored;
    this.#offset = offset;
    this.#end = Math.min(stored.sizeBytes, offset + limit);
  }

  get sizeBytes(): number {
    return this.#stored.sizeBytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    try {
      if (this.#offset >= this.#end) return;
      let at = 0;
      const decoder = createZstdDecompress({ params: ZSTD_DECODER_PARAMETERS, chunkSize: OUTPUT_BYTES });
      for await (const piece of through(framesOf(this.#stored), decoder)) {
        const from = Math.max(0, this.#offset - at);
        const to = Math.min(piece.length, this.#end - at);
        at += piece.length;
        if (from < to) yield piece.subarray(from, to);
        if (at >= this.#end) return;
      }
      throw undecodable(new Error(`expected ${this.sizeBytes} bytes, got ${at}`));
    } finally {
      this.close();
    }
  }

  async bytes(): Promise<Buffer> {
    const pieces: Buffer[] = [];
    for await (const piece of this) pieces.push(piece);
    return Buffer.concat(pieces);
  }

  close(): void {
    this.#stored.close();
  }
}

/** The content as one zstd frame. */
export async function* encodeZstd(content: EntryContent): AsyncGenerator<Buffer> {
  try {
    if (content.sizeBytes <= SYNC_BYTES_MAX) yield zstdCompressSync(await content.bytes(), ENCODER_OPTIONS);
    else yield* through(content, createZstdCompress({ ...ENCODER_OPTIONS, chunkSize: OUTPUT_BYTES }));
  } finally {
    content.close();
  }
}

/** What is stored was decoded once before it was: it is damaged, or this is a fault of ours. */
export function undecodable(cause: unknown): CacheError {
  return new CacheError("internal", "a stored blob does not decode", { cause });
}

/** Nothing is taken from the source before the reader wants it, but for a piece or two. */
async function* through(source: AsyncIterable<Uint8Array>, transform: Transform): AsyncGenerator<Buffer> {
  try {
    using _place = await places.take();
    // What goes wrong in the source reaches whoever reads the other end.
    const flowing = pipeline(Readable.from(source, { objectMode: true, highWaterMark: 1 }), transform, () => {});
    yield* flowing as AsyncIterable<Buffer>;
  } finally {
    transform.destroy();
  }
}

/** In pieces that do not reach over the end of a frame, where node's decoder stops. */
async function* framesOf(stored: EntryContent): AsyncGenerator<Uint8Array> {
  const frames = new ZstdFrames();
  for await (const piece of stored) yield* frames.cut(piece);
}
