import { hash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import type { AddressInfo } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import { gzipSync } from "node:zlib";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { MemoryBudget } from "../../../src/cache/memory-budget.ts";
import type { BoundMethod, CallContext } from "../../../src/grpc/transport/handler.ts";
import { createNativeTransport, type NativeTransportOptions } from "../../../src/grpc/transport/native-transport.ts";
import { FLAG, FRAME, PREFACE } from "../../../src/http2/frame-format.ts";
import { encodeHeaderBlock } from "../../../src/http2/hpack/encode-header-block.ts";
import { type HarnessOptions, TransportHarness } from "../../contract/grpc-transport-harness.ts";
import { path, type TextHandlers, textMethods, unary } from "../../contract/grpc-transport-methods.ts";
import { OutputBudget } from "../../../src/http2/output-budget.ts";
import { SETTING } from "../../../src/http2/settings.ts";
import { rawFrame, setting, word } from "../../http2/raw-frames.ts";
import { RawHttp2Client } from "../../http2/raw-http2-client.ts";
import { ManualTimers } from "../../support/manual-timers.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "../../support/test-certificate.ts";

const WAIT = { timeout: 20_000, interval: 2 };
const ECHO: TextHandlers = { Unary: async (text) => text };

async function open(handlers: TextHandlers, options: HarnessOptions & Partial<NativeTransportOptions> = {}) {
  const harness = await TransportHarness.start(createNativeTransport, textMethods(handlers), options);
  onTestFinished(() => harness[Symbol.asyncDispose]());
  return { harness, client: await RawHttp2Client.open(harness.port) };
}

function callFrame(streamId: number, fields: Record<string, string> = {}, flags = 0): Buffer {
  const all = {
    ":method": "POST",
    ":scheme": "http",
    ":path": path("Unary"),
    "content-type": "application/grpc",
    te: "trailers",
    ...fields,
  };
  return rawFrame(FRAME.headers, FLAG.endHeaders | flags, streamId, encodeHeaderBlock(Object.entries(all)));
}

function prefixed(message: Buffer, flag = 0): Buffer {
  const prefix = Buffer.from([flag, 0, 0, 0, 0]);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
}

/** The messages of a body, none of them compressed. */
function messagesOf(body: Buffer): string[] {
  const messages: string[] = [];
  for (let at = 0; at < body.length;) {
    const end = at + 5 + body.readUInt32BE(at + 1);
    messages.push(body.toString("utf8", at + 5, end));
    at = end;
  }
  return messages;
}

function dataFrame(streamId: number, data: Buffer, flags: number = FLAG.endStream): Buffer {
  return rawFrame(FRAME.data, flags, streamId, data);
}

describe("connections that are taken over", () => {
  test("a call that came with the preface is answered", async () => {
    const { harness } = await open(ECHO, { peek: true });
    const client = await RawHttp2Client.connect(harness.port);
    client.send(PREFACE, rawFrame(FRAME.settings, 0, 0), callFrame(1), dataFrame(1, prefixed(Buffer.from("at once"))));
    expect((await client.response(1)).body.subarray(5).toString()).toBe("at once");
    expect(harness.faults).toEqual([]);
  });

  test("the accepted socket is closed with the connection, and the connection with it", async () => {
    const { harness, client } = await open(ECHO);
    client.send(callFrame(1), dataFrame(1, prefixed(Buffer.from("here"))));
    await client.response(1);
    const other = await RawHttp2Client.open(harness.port);
    await vi.waitFor(() => expect(harness.sockets.size).toBe(2), WAIT);
    client.socket.destroy();
    await vi.waitFor(() => expect(harness.sockets.size).toBe(1), WAIT);
    for (const socket of harness.sockets) socket.destroy();
    await vi.waitFor(() => expect(other.isClosed).toBe(true), WAIT);
  });
});

describe("requests that are no calls", () => {
  test.each([
    ["another method", { ":method": "GET" }, { ":status": "405", allow: "POST" }],
    ["another content type", { "content-type": "text/html" }, { ":status": "415" }],
    ["an unknown path", { ":path": "/no/Such" }, { ":status": "200", "grpc-status": "12" }],
    [
      "an unknown encoding",
      { "grpc-encoding": "br" },
      { "grpc-status": "12", "grpc-accept-encoding": "identity,gzip" },
    ],
    ["a malformed deadline", { "grpc-timeout": "1 second" }, { ":status": "200", "grpc-status": "3" }],
  ])("%s is told so", async (_what, fields, expected) => {
    const { client } = await open(ECHO);
    client.send(callFrame(1, fields as Record<string, string>, FLAG.endStream));
    expect((await client.response(1)).fields).toMatchObject(expected);
    client.send(callFrame(3), dataFrame(3, prefixed(Buffer.from("usable"))));
    expect((await client.response(3)).body.subarray(5).toString()).toBe("usable");
  });

  test("a refused request that goes on and on is answered before its end", async () => {
    const { client } = await open(ECHO);
    client.send(callFrame(1, { "content-type": "text/html" }));
    for (let count = 0; count < 10; count++) client.send(dataFrame(1, Buffer.alloc(16_000), 0));
    expect((await client.response(1)).fields[":status"]).toBe("415");
  });
});

describe("messages", () => {
  test("gzip is taken, message by message", async () => {
    const { client } = await open({
      ClientStream: async (requests) => {
        const texts: string[] = [];
        for await (const text of requests) texts.push(text);
        return texts.join();
      },
    });
    client.send(
      callFrame(1, { ":path": path("ClientStream"), "grpc-encoding": "gzip" }),
      dataFrame(1, prefixed(gzipSync("one"), 1), 0),
      dataFrame(1, prefixed(Buffer.from("two")), 0),
      dataFrame(1, prefixed(gzipSync("three"), 1)),
    );
    const { fields, body } = await client.response(1);
    expect(body.subarray(5).toString()).toBe("one,two,three");
    expect(fields["grpc-status"]).toBe("0");
  });

  test("a handler hears of the end of the requests that comes in one chunk with the last one, taken in place", async () => {
    const taken: string[] = [];
    const waiting = Promise.withResolvers<void>();
    const [method] = textMethods({
      ClientStream: async (requests) => {
        requests.offerTo((text) => taken.push(text) > 0);
        const next = requests[Symbol.asyncIterator]().next();
        waiting.resolve();
        return `${String((await next).done)} ${taken.join()}`;
      },
    });
    const partDecoder = () => ({ keep: (text: unknown) => text, begin: () => undefined, continue: () => undefined });
    const inPlace = { ...method!, definition: { ...method!.definition, partDecoder } } as BoundMethod;
    const harness = await TransportHarness.start(createNativeTransport, [inPlace]);
    onTestFinished(() => harness[Symbol.asyncDispose]());
    const client = await RawHttp2Client.open(harness.port);
    client.send(callFrame(1, { ":path": path("ClientStream") }), dataFrame(1, prefixed(Buffer.from("one")), 0));
    await waiting.promise;
    client.send(dataFrame(1, prefixed(Buffer.from("two")), 0), dataFrame(1, Buffer.alloc(0)));
    expect((await client.response(1)).body.subarray(5).toString()).toBe("true one,two");
  });

  test("gzip is expanded from bytes that stay, whatever other connections receive meanwhile", async () => {
    const { harness } = await open({ Unary: async (text) => hash("sha256", text) });
    const clients = await Promise.all(Array.from({ length: 8 }, () => RawHttp2Client.open(harness.port)));
    const texts = clients.map(() => randomBytes(40_000).toString("hex"));
    for (const [index, client] of clients.entries()) {
      const message = prefixed(gzipSync(texts[index]!), 1);
      client.send(callFrame(1, { "grpc-encoding": "gzip" }), dataFrame(1, message));
    }
    const outcomes = await Promise.all(clients.map((client) => client.response(1)));
    expect(outcomes.map(({ fields }) => fields["grpc-status"])).toEqual(clients.map(() => "0"));
    expect(outcomes.map(({ body }) => body.subarray(5).toString())).toEqual(texts.map((text) => hash("sha256", text)));
  });

  test.each([
    ["gzip that expands past the limit", { "grpc-encoding": "gzip" }, prefixed(gzipSync(Buffer.alloc(50_000)), 1), "8"],
    ["no gzip data", { "grpc-encoding": "gzip" }, prefixed(Buffer.from("plain"), 1), "3"],
    ["a compressed message without an encoding", {}, prefixed(gzipSync("x"), 1), "3"],
    ["an unknown flag", {}, prefixed(Buffer.from("x"), 7), "3"],
    ["a message that is cut short", {}, prefixed(Buffer.from("hello")).subarray(0, 8), "3"],
  ])("%s ends the call with a status", async (_what, fields, body, statusCode) => {
    const { client, harness } = await open(ECHO, { messageBytesMax: 20_000 });
    client.send(callFrame(1, fields as Record<string, string>), dataFrame(1, body));
    expect((await client.response(1)).fields["grpc-status"]).toBe(statusCode);
    await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
    expect(harness.faults).toEqual([]);
  });

  test("a message over the limit is refused when its prefix is there, before its bytes are", async () => {
    const { client } = await open(ECHO, { messageBytesMax: 1000 });
    client.send(callFrame(1), dataFrame(1, Buffer.from([0, 0x10, 0, 0, 0]), 0));
    expect((await client.response(1)).fields).toMatchObject({
      "grpc-status": "8",
      "grpc-message": "request: expected at most 1000 bytes, got 268435456",
    });
  });

  test("large messages that are incomplete are bounded all together, one that waits too long is refused, others go on", async () => {
    const timers = new ManualTimers();
    const memory = new MemoryBudget(400_000, { timers });
    const { client } = await open(ECHO, { memory });
    const half = prefixed(Buffer.alloc(300_000, "x")).subarray(0, 150_000);
    const send = (streamId: number): void => {
      client.send(callFrame(streamId));
      for (let at = 0; at < half.length; at += 10_000)
        client.send(dataFrame(streamId, half.subarray(at, at + 10_000), 0));
    };
    send(1);
    send(3);
    client.send(callFrame(5), dataFrame(5, prefixed(Buffer.from("small"))));
    expect((await client.response(5)).fields["grpc-status"]).toBe("0");
    expect(memory.waiterCount).toBe(1);
    timers.advance(5000);
    const refused = await client.response(3);
    expect(refused.fields).toMatchObject({ "grpc-status": "8", "grpc-message": "too many large requests at once" });
    expect(refused.fields["grpc-status-details-bin"]).toBeDefined();
    expect(memory.waiterCount).toBe(0);
  });

  test("more large requests than there is memory for are answered one after the other", async () => {
    const memory = new MemoryBudget(5_000_000, { timers: new ManualTimers() });
    const { harness } = await open({ Unary: async (text) => `${text.length}` }, { memory, messageBytesMax: 2_000_000 });
    const clients = Array.from({ length: 12 }, () => harness.client());
    const answers = await Promise.all(clients.map((client, i) => unary(client, "x".repeat(1_900_000 + i))));
    expect(answers).toEqual(clients.map((_, i) => `${1_900_000 + i}`));
    expect([memory.usedBytes, memory.waiterCount]).toEqual([0, 0]);
  });

  test("a message larger than the window of its stream arrives", async () => {
    const { harness } = await open(
      { Unary: async (text) => `${text.length}` },
      { connection: { streamWindowBytes: 70_000, streamWindowBytesMax: 70_000 } },
    );
    const session = connectHttp2(`http://127.0.0.1:${harness.port}`);
    const call = session.request({ ":method": "POST", ":path": path("Unary"), "content-type": "application/grpc" });
    call.end(prefixed(Buffer.alloc(2_000_000, "x")));
    const chunks: Buffer[] = [];
    for await (const chunk of call) chunks.push(chunk as Buffer);
    expect(Buffer.concat(chunks).subarray(5).toString()).toBe("2000000");
    session.close();
  });
});

describe("H10: responses that can be divided, while many clients do not take theirs", () => {
  test("are made as the windows of their clients are opened, and all of it arrives", async () => {
    const text = randomBytes(150_000).toString("hex");
    let at = 0;
    const source = {
      take: (bytesMax: number) => {
        const part = text.slice(at, at + Math.min(bytesMax, text.length));
        at += part.length;
        return part === "" ? undefined : part;
      },
      more: () => false as const,
      close: () => {},
    };
    const outputBudget = new OutputBudget(1);
    const { harness } = await open({ ServerStream: () => source }, { outputBudget });
    const client = await RawHttp2Client.open(harness.port, setting(SETTING.initialWindowSize, 0));
    client.send(callFrame(1, { ":path": path("ServerStream") }), dataFrame(1, prefixed(Buffer.from("all of it"))));
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBeGreaterThan(0), WAIT);
    // A message and what is around it.
    expect(outputBudget.heldBytes).toBeLessThan(2000);
    expect(at).toBeLessThan(2000);
    client.send(...[0, 1].map((id) => rawFrame(FRAME.windowUpdate, 0, id, word(1_000_000))));
    const { fields, body } = await client.response(1);
    expect(fields["grpc-status"]).toBe("0");
    expect(messagesOf(body).join("")).toBe(text);
    expect(outputBudget.heldBytes).toBe(0);
  });
});

describe("time", () => {
  test("a deadline ends the call although the client does not", async () => {
    let seen: CallContext | undefined;
    const { client, harness } = await open({
      Unary: (_text, call) => {
        seen = call;
        return new Promise((_resolve, reject) =>
          call.signal.addEventListener("abort", () => reject(new Error("stop"))),
        );
      },
    });
    client.send(callFrame(1, { "grpc-timeout": "20m" }), dataFrame(1, prefixed(Buffer.from("x"))));
    expect((await client.response(1)).fields["grpc-status"]).toBe("4");
    expect(seen?.signal.reason).toMatchObject({ code: "deadline_exceeded" });
    await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
  });

  test("a request that is never completed ends after the stated time", async () => {
    const { client, harness } = await open(ECHO, { sendStallTimeoutMs: 20 });
    client.send(callFrame(1), dataFrame(1, prefixed(Buffer.from("hello")).subarray(0, 7), 0));
    expect((await client.response(1)).fields["grpc-status"]).toBe("4");
    expect(harness.transport.callsInFlight).toBe(0);
  });
});

test("over TLS, calls are what they are without", async () => {
  const transport = createNativeTransport(textMethods(ECHO), { reportFault: () => {} });
  const server = createTlsServer({ key: TEST_KEY, cert: TEST_CERTIFICATE, ALPNProtocols: ["h2"] }, (socket) =>
    transport.accept(socket),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const session = connectHttp2(`https://localhost:${port}`, { ca: TEST_CERTIFICATE });
  onTestFinished(async () => {
    session.close();
    await transport.drain(0);
    server.close();
  });
  const text = "x".repeat(1_000_000);
  const call = session.request({ ":method": "POST", ":path": path("Unary"), "content-type": "application/grpc" });
  call.end(prefixed(Buffer.from(text)));
  const chunks: Buffer[] = [];
  for await (const chunk of call) chunks.push(chunk as Buffer);
  expect(Buffer.concat(chunks).subarray(5).toString() === text).toBe(true);
});
