import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { ERROR_CODE } from "../../src/http2/error-code.ts";
import { FLAG, FRAME, PREFACE } from "../../src/http2/frame-format.ts";
import { encodeHeaderBlock } from "../../src/http2/hpack/encode-header-block.ts";
import { SETTING } from "../../src/http2/settings.ts";
import { Http2TestServer } from "./http2-test-server.ts";
import { headersFrame, rawFrame, requestBlock, setting, word } from "./raw-frames.ts";
import { RawHttp2Client } from "./raw-http2-client.ts";

const { protocolError, frameSizeError, flowControlError, streamClosed, compressionError } = ERROR_CODE;
const END = FLAG.endHeaders | FLAG.endStream;
const WAIT = { timeout: 20_000, interval: 2 };

const data = (streamId: number, flags = 0): Buffer => rawFrame(FRAME.data, flags, streamId, Buffer.from("data!"));
const fields = (...list: (readonly [string, string])[]): Buffer =>
  rawFrame(FRAME.headers, END, 1, encodeHeaderBlock(list));
const request = (...extra: (readonly [string, string])[]): Buffer =>
  rawFrame(FRAME.headers, END, 1, requestBlock("/echo", extra));

/** What the client sends after preface and SETTINGS, and the error that ends the connection. */
const CONNECTION_ERRORS: readonly [string, Buffer[], number][] = [
  ["DATA on stream 0", [data(0)], protocolError],
  ["DATA on an idle stream", [data(1)], protocolError],
  ["DATA on an even stream", [headersFrame(5, "/hold"), data(2)], protocolError],
  ["HEADERS on stream 0", [headersFrame(0, "/echo")], protocolError],
  ["HEADERS on an even stream", [headersFrame(2, "/echo")], protocolError],
  ["HEADERS on a stream that was skipped", [headersFrame(5, "/hold"), headersFrame(3, "/echo")], protocolError],
  [
    "HEADERS with more padding than bytes",
    [rawFrame(FRAME.headers, FLAG.endHeaders | FLAG.padded, 1, Buffer.from([9, 1]))],
    protocolError,
  ],
  ["a malformed header block", [rawFrame(FRAME.headers, END, 1, Buffer.from([0x80]))], compressionError],
  ["CONTINUATION without HEADERS", [rawFrame(FRAME.continuation, FLAG.endHeaders, 1)], protocolError],
  [
    "another frame in a header block",
    [headersFrame(1, "/hold", 0), rawFrame(FRAME.ping, 0, 0, Buffer.alloc(8))],
    protocolError,
  ],
  ["DATA in a header block", [headersFrame(1, "/hold", 0), data(1)], protocolError],
  ["CONTINUATION of another stream", [headersFrame(1, "/hold", 0), rawFrame(FRAME.continuation, 4, 3)], protocolError],
  ["PRIORITY on stream 0", [rawFrame(FRAME.priority, 0, 0, Buffer.alloc(5))], protocolError],
  ["RST_STREAM on stream 0", [rawFrame(FRAME.rstStream, 0, 0, word(8))], protocolError],
  ["RST_STREAM on an idle stream", [rawFrame(FRAME.rstStream, 0, 1, word(8))], protocolError],
  [
    "RST_STREAM of 3 bytes",
    [headersFrame(1, "/hold"), rawFrame(FRAME.rstStream, 0, 1, Buffer.alloc(3))],
    frameSizeError,
  ],
  ["SETTINGS on a stream", [rawFrame(FRAME.settings, 0, 1)], protocolError],
  ["SETTINGS of 5 bytes", [rawFrame(FRAME.settings, 0, 0, Buffer.alloc(5))], frameSizeError],
  ["a SETTINGS acknowledgement with entries", [rawFrame(FRAME.settings, 1, 0, Buffer.alloc(6))], frameSizeError],
  ["ENABLE_PUSH of 2", [rawFrame(FRAME.settings, 0, 0, setting(SETTING.enablePush, 2))], protocolError],
  ["MAX_FRAME_SIZE of 1", [rawFrame(FRAME.settings, 0, 0, setting(SETTING.maxFrameSize, 1))], protocolError],
  [
    "INITIAL_WINDOW_SIZE of 2^31",
    [rawFrame(FRAME.settings, 0, 0, setting(SETTING.initialWindowSize, 0x8000_0000))],
    flowControlError,
  ],
  ["PUSH_PROMISE", [rawFrame(FRAME.pushPromise, 4, 1, Buffer.alloc(4))], protocolError],
  ["PING on a stream", [rawFrame(FRAME.ping, 0, 1, Buffer.alloc(8))], protocolError],
  ["PING of 7 bytes", [rawFrame(FRAME.ping, 0, 0, Buffer.alloc(7))], frameSizeError],
  ["GOAWAY on a stream", [rawFrame(FRAME.goaway, 0, 1, Buffer.alloc(8))], protocolError],
  ["GOAWAY of 7 bytes", [rawFrame(FRAME.goaway, 0, 0, Buffer.alloc(7))], frameSizeError],
  ["WINDOW_UPDATE of 3 bytes", [rawFrame(FRAME.windowUpdate, 0, 0, Buffer.alloc(3))], frameSizeError],
  ["WINDOW_UPDATE by 0", [rawFrame(FRAME.windowUpdate, 0, 0, word(0))], protocolError],
  ["WINDOW_UPDATE on an idle stream", [rawFrame(FRAME.windowUpdate, 0, 1, word(1))], protocolError],
  ["a connection window over 2^31-1", [rawFrame(FRAME.windowUpdate, 0, 0, word(0x7fff_ffff))], flowControlError],
  ["a frame over the limit", [rawFrame(FRAME.ping, 0, 0, Buffer.alloc(70_000))], frameSizeError],
];

/** What the client sends, and the error that ends stream 1. */
const STREAM_ERRORS: readonly [string, Buffer[], number][] = [
  ["DATA after END_STREAM", [headersFrame(1, "/hold", END), data(1)], streamClosed],
  ["HEADERS after END_STREAM", [headersFrame(1, "/hold", END), headersFrame(1, "/hold", END)], streamClosed],
  ["trailers without END_STREAM", [headersFrame(1, "/hold"), rawFrame(FRAME.headers, 4, 1)], protocolError],
  [
    "trailers with a pseudo-header field",
    [headersFrame(1, "/hold"), rawFrame(FRAME.headers, END, 1, encodeHeaderBlock([[":path", "/"]]))],
    protocolError,
  ],
  ["WINDOW_UPDATE by 0", [headersFrame(1, "/hold"), rawFrame(FRAME.windowUpdate, 0, 1, word(0))], protocolError],
  [
    "a stream window over 2^31-1",
    [headersFrame(1, "/hold"), rawFrame(FRAME.windowUpdate, 0, 1, word(0x7fff_ffff))],
    flowControlError,
  ],
  ["PRIORITY of 4 bytes", [headersFrame(1, "/hold"), rawFrame(FRAME.priority, 0, 1, Buffer.alloc(4))], frameSizeError],
  [
    "a stream that depends on itself",
    [headersFrame(1, "/hold"), rawFrame(FRAME.priority, 0, 1, Buffer.from([0, 0, 0, 1, 0]))],
    protocolError,
  ],
  ["no method", [fields([":scheme", "http"], [":path", "/"])], protocolError],
  ["an empty path", [fields([":method", "GET"], [":scheme", "http"], [":path", ""])], protocolError],
  ["two paths", [request([":path", "/"])], protocolError],
  ["a pseudo-header field after a plain one", [fields(["x-a", "b"], [":method", "GET"])], protocolError],
  ["an unknown pseudo-header field", [fields([":colour", "red"], [":method", "GET"])], protocolError],
  ["a name in capitals", [request(["X-Name", "value"])], protocolError],
  ["a line break in a value", [request(["x-name", "a\r\nb"])], protocolError],
  ["a field of the connection", [request(["connection", "close"])], protocolError],
  ["te other than trailers", [request(["te", "gzip"])], protocolError],
  ["a body that is promised and missing", [request(["content-length", "1"])], protocolError],
  ["a length that is none", [request(["content-length", "one"])], protocolError],
  [
    "a body longer than promised",
    [rawFrame(FRAME.headers, 4, 1, requestBlock("/hold", [["content-length", "4"]])), data(1)],
    protocolError,
  ],
  [
    "a body shorter than promised",
    [rawFrame(FRAME.headers, 4, 1, requestBlock("/hold", [["content-length", "6"]])), data(1, FLAG.endStream)],
    protocolError,
  ],
];

describe("connection errors", () => {
  test.each(CONNECTION_ERRORS)("%s", async (_what, frames, code) => {
    const server = await Http2TestServer.start();
    const client = await RawHttp2Client.open(server.port);
    client.send(...frames);
    expect(await client.connectionError()).toBe(code);
    await vi.waitFor(() => expect(server.connections.size).toBe(0), WAIT);
    expect(server.faults).toEqual([]);
  });

  test("a first frame that is not SETTINGS", async () => {
    const server = await Http2TestServer.start();
    const client = await RawHttp2Client.connect(server.port);
    client.send(PREFACE, rawFrame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    expect(await client.connectionError()).toBe(protocolError);
  });

  test("HEADERS on a stream that has ended", async () => {
    const server = await Http2TestServer.start();
    const client = await RawHttp2Client.open(server.port);
    client.send(headersFrame(1, "/echo", END));
    await client.response(1);
    client.send(headersFrame(1, "/echo", END));
    expect(await client.connectionError()).toBe(streamClosed);
  });
});

describe("stream errors leave the connection usable", () => {
  test.each(STREAM_ERRORS)("%s", async (_what, frames, code) => {
    const server = await Http2TestServer.start();
    const client = await RawHttp2Client.open(server.port);
    client.send(...frames);
    expect(await client.reset(1)).toBe(code);
    client.send(headersFrame(3, "/echo", END));
    await client.response(3);
    expect(server.faults).toEqual([]);
  });
});

describe("garbage", () => {
  test("no frames, however odd, cause a fault or keep another connection from being served", async () => {
    const server = await Http2TestServer.start();
    const steady = await RawHttp2Client.open(server.port);
    const frame = fc
      .tuple(fc.nat(12), fc.nat(255), fc.nat(9), fc.uint8Array({ maxLength: 40 }))
      .map(([type, flags, streamId, payload]) => rawFrame(type, flags, streamId, Buffer.from(payload)));
    const opening = fc.constantFrom(headersFrame(1, "/hold"), headersFrame(1, "/echo"), Buffer.alloc(0));
    await fc.assert(
      fc.asyncProperty(opening, fc.array(frame, { maxLength: 15 }), async (first, frames) => {
        const client = await RawHttp2Client.open(server.port);
        client.send(first, ...frames);
        client.socket.end();
        await client.closed();
        expect(server.faults).toEqual([]);
      }),
      { numRuns: 200 },
    );
    await steady.roundTrip();
    await vi.waitFor(() => expect(server.connections.size).toBe(1), WAIT);
  });
});
