import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ERROR_CODE } from "../../src/http2/error-code.ts";
import { FLAG, FRAME, PREFACE } from "../../src/http2/frame-format.ts";
import { FrameParser, type FrameSink } from "../../src/http2/frame-parser.ts";
import { rawFrame } from "./raw-frames.ts";

/** Writes down what it hears, the data of a frame joined. */
class RecordingSink implements FrameSink {
  readonly frames: string[] = [];
  #data: Buffer[] = [];
  #head = "";

  onDataStart(streamId: number, flags: number, lengthBytes: number, paddingBytes: number): void {
    this.#head = `data ${streamId} ${flags} ${lengthBytes} ${paddingBytes}`;
    this.#data = [];
  }

  onData(chunk: Buffer, start: number, end: number): void {
    if (end <= start) throw new RangeError(`no data from ${start} to ${end}`);
    this.#data.push(Buffer.from(chunk.subarray(start, end)));
  }

  onDataEnd(): void {
    this.frames.push(`${this.#head} ${Buffer.concat(this.#data).toString("hex")}`);
  }

  onFrame(type: number, flags: number, streamId: number, bytes: Buffer, start: number, end: number): void {
    this.frames.push(`${type} ${streamId} ${flags} ${bytes.toString("hex", start, end)}`);
  }
}

function parse(chunks: readonly Buffer[], frameBytesMax = 16_384): string[] {
  const sink = new RecordingSink();
  const parser = new FrameParser(sink, frameBytesMax);
  for (const chunk of chunks) parser.push(Buffer.from(chunk));
  return sink.frames;
}

/** Cuts at these places, each a part of the whole. */
function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const places = [...new Set([0, ...at.map((part) => Math.floor(part * bytes.length)), bytes.length])].toSorted(
    (a, b) => a - b,
  );
  return places.slice(1).map((end, index) => bytes.subarray(places[index], end));
}

function dataFrame(streamId: number, data: Uint8Array, padding: number | undefined): Buffer {
  if (padding === undefined) return rawFrame(FRAME.data, 0, streamId, Buffer.from(data));
  return rawFrame(
    FRAME.data,
    FLAG.padded,
    streamId,
    Buffer.concat([Buffer.from([padding]), data, Buffer.alloc(padding)]),
  );
}

const frames = fc.array(
  fc.oneof(
    fc
      .tuple(fc.integer({ min: 1, max: 9 }), fc.nat(255), fc.nat(0x7fffffff), fc.uint8Array({ maxLength: 40 }))
      .map(([type, flags, streamId, payload]) => rawFrame(type, flags, streamId, Buffer.from(payload))),
    fc
      .tuple(fc.nat(0x7fffffff), fc.uint8Array({ maxLength: 60 }), fc.option(fc.nat(20), { nil: undefined }))
      .map((parts) => dataFrame(...parts)),
  ),
  { maxLength: 12 },
);

describe("FrameParser", () => {
  test("frames come out the same in one chunk, byte by byte, and however they are cut", () => {
    fc.assert(
      fc.property(frames, fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 }), (parts, cuts) => {
        const bytes = Buffer.concat([PREFACE, ...parts]);
        const whole = parse([bytes]);
        expect(whole.length).toBe(parts.length);
        expect(parse(Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(whole);
        expect(parse(cut(bytes, cuts))).toEqual(whole);
      }),
    );
  });

  test("a DATA frame is reported with what flow control counts and what is padding", () => {
    expect(parse([PREFACE, dataFrame(5, Buffer.from("abc"), 2)])).toEqual(["data 5 8 6 3 616263"]);
    expect(parse([PREFACE, dataFrame(5, Buffer.alloc(0), undefined)])).toEqual(["data 5 0 0 0 "]);
  });

  test("the reserved bit of a stream identifier is ignored", () => {
    const frame = rawFrame(FRAME.ping, 0, 0, Buffer.alloc(8));
    frame[5] = 0x80;
    expect(parse([PREFACE, frame])).toEqual([`6 0 0 ${"00".repeat(8)}`]);
  });

  test.each([
    ["another preface", Buffer.from("GET / HTTP/1.1\r\n\r\n"), ERROR_CODE.protocolError],
    ["a frame over the limit", Buffer.concat([PREFACE, Buffer.from([0, 0x40, 1])]), ERROR_CODE.frameSizeError],
    [
      "padding as long as the frame",
      Buffer.concat([PREFACE, rawFrame(FRAME.data, FLAG.padded, 1, Buffer.from([3, 1, 1]))]),
      ERROR_CODE.protocolError,
    ],
    [
      "a padded frame without a pad length",
      Buffer.concat([PREFACE, rawFrame(FRAME.data, FLAG.padded, 1)]),
      ERROR_CODE.frameSizeError,
    ],
  ])("%s is a connection error", (_what, bytes, code) => {
    const error = expect.objectContaining({ name: "ConnectionError", code });
    const rest = Buffer.alloc(20);
    expect(() => parse([bytes, rest])).toThrow(error);
    expect(() => parse([...Array.from(bytes, (byte) => Buffer.from([byte])), rest])).toThrow(error);
  });

  test("a frame of the largest size passes", () => {
    const frame = rawFrame(FRAME.headers, 0, 1, Buffer.alloc(16_384, 7));
    expect(parse([PREFACE, frame.subarray(0, 5000), frame.subarray(5000)])).toEqual([`1 1 0 ${"07".repeat(16_384)}`]);
  });
});
