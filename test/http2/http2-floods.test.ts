import { describe, expect, test, vi } from "vitest";
import { ERROR_CODE } from "../../src/http2/error-code.ts";
import { FLAG, FRAME } from "../../src/http2/frame-format.ts";
import { SETTING } from "../../src/http2/settings.ts";
import { flood, FLOODS } from "./floods.ts";
import { Http2TestServer } from "./http2-test-server.ts";
import { headersFrame, rawFrame, requestBlock, setting, word } from "./raw-frames.ts";
import { RawHttp2Client } from "./raw-http2-client.ts";

const END = FLAG.endHeaders | FLAG.endStream;
const WAIT = { timeout: 20_000, interval: 2 };

describe("floods", () => {
  test.each(FLOODS)("$name: the connection ends with ENHANCE_YOUR_CALM, others are served", async (each) => {
    const server = await Http2TestServer.start();
    const steady = await RawHttp2Client.open(server.port);
    const flooding = await RawHttp2Client.open(server.port);
    await flood(flooding, each, (streamId, flags) => headersFrame(streamId, "/hold", flags));
    steady.send(headersFrame(1, "/echo", END));
    await steady.response(1);
    expect(await flooding.connectionError()).toBe(ERROR_CODE.enhanceYourCalm);
    await vi.waitFor(() => expect(server.connections.size).toBe(1), WAIT);
  });

  test("a client that floods and never reads is closed all the same", async () => {
    const server = await Http2TestServer.start();
    const client = await RawHttp2Client.open(server.port);
    client.socket.pause();
    const pings = Buffer.alloc(17_000, rawFrame(FRAME.ping, 0, 0, Buffer.alloc(8)));
    client.send(pings, pings);
    await vi.waitFor(() => expect(server.connections.size).toBe(0), WAIT);
    client.socket.destroy();
  });

  test("a client that only asks and never reads is not read from without end", async () => {
    const server = await Http2TestServer.start({ controlBacklogBytesMax: 10_000 });
    const client = await RawHttp2Client.open(server.port);
    await client.roundTrip();
    client.socket.pause();
    let streamId = 1;
    await vi.waitFor(() => {
      client.send(...Array.from({ length: 5000 }, () => headersFrame((streamId += 2), "/size/0", END)));
      // What the server does not read stays with the client.
      expect(client.socket.writableLength).toBeGreaterThan(2_000_000);
    }, WAIT);
    client.socket.resume();
    await client.response(streamId);
  });

  test("a client that cancels a whole build, or probes often while data flows, is no flood", async () => {
    const server = await Http2TestServer.start();
    const client = await RawHttp2Client.open(server.port, setting(SETTING.initialWindowSize, 10_000_000));
    client.send(rawFrame(FRAME.windowUpdate, 0, 0, word(1_000_000_000)));
    const ids = Array.from({ length: 1000 }, (_, index) => 2 * index + 1);
    client.send(...ids.map((id) => headersFrame(id, "/hold")));
    client.send(...ids.map((id) => rawFrame(FRAME.rstStream, 0, id, word(ERROR_CODE.cancel))));
    for (let round = 0; round < 50; round++) {
      const id = 2001 + 2 * round;
      client.send(headersFrame(id, "/size/1000000", END));
      await client.response(id);
      client.send(...Array.from({ length: 60 }, () => rawFrame(FRAME.ping, 0, 0, Buffer.alloc(8))));
      client.send(...Array.from({ length: 120 }, () => rawFrame(FRAME.windowUpdate, 0, 0, word(1))));
    }
    await client.roundTrip();
    expect(client.frames.some(({ type }) => type === FRAME.goaway)).toBe(false);
  });

  test("who resets each call as soon as it has begun is a flood sooner than who cancels what is in flight", async () => {
    const server = await Http2TestServer.start();
    const client = await RawHttp2Client.open(server.port);
    await client.roundTrip();
    const ids = Array.from({ length: 120 }, (_, index) => 2 * index + 1);
    const reset = (id: number): Buffer => rawFrame(FRAME.rstStream, 0, id, word(ERROR_CODE.cancel));
    client.send(...ids.flatMap((id) => [headersFrame(id, "/hold"), reset(id)]));
    expect(await client.connectionError()).toBe(ERROR_CODE.enhanceYourCalm);
  });

  test("a header block cannot be longer than what is taken of fields", async () => {
    const server = await Http2TestServer.start({ headerListBytesMax: 5000 });
    const client = await RawHttp2Client.open(server.port);
    const block = requestBlock("/echo", [["x-long", "~".repeat(6000)]]);
    client.send(rawFrame(FRAME.headers, FLAG.endStream, 1, block.subarray(0, 100)));
    client.send(rawFrame(FRAME.continuation, FLAG.endHeaders, 1, block.subarray(100)));
    expect(await client.connectionError()).toBe(ERROR_CODE.enhanceYourCalm);
  });
});
