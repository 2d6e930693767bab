import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { nameKey } from "../../src/cache/entry-key.ts";
import type { StagedEntry, StageOptions } from "../../src/cache/entry-store.ts";
import { RequestBodies } from "../../src/http/request-body.ts";
import { OutputBudget } from "../../src/http2/output-budget.ts";
import { sendTurns } from "../../src/http2/loop-turns.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { testSeed } from "../support/seed.ts";
import { seededRandom } from "../support/seeded-random.ts";

const random = seededRandom(testSeed("bodies of HTTP requests"));
const KEY = nameKey(255, "body");
const BODY = random.bytes(300_000);

describe("RequestBodies", () => {
  let server: Server | undefined;

  /** Stores the body of one request, which announces BODY. @returns what comes of it, and the client's request. */
  async function store(
    stage: (options: StageOptions) => Promise<StagedEntry> | StagedEntry,
  ): Promise<{ stored: Promise<number>; sent: ReturnType<typeof request> }> {
    const output = { budget: new OutputBudget(Number.POSITIVE_INFINITY), turns: sendTurns(), stallMsMax: 60_000 };
    const bodies = new RequestBodies({ bytesMax: BODY.length, idleMsMax: 60_000 });
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    server = createServer((incoming, response) => {
      const exchange = { request: incoming, response, params: {}, awaitsContinue: false, output };
      const storing = bodies.store(exchange, stage);
      storing.finally(() => response.end()).then(resolve, reject);
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    const { port } = server.address() as AddressInfo;
    const sent = request({ host: "127.0.0.1", port, method: "PUT", headers: { "content-length": BODY.length } });
    sent.on("error", () => {});
    sent.flushHeaders();
    return { stored: promise, sent };
  }

  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });

  test("the memory of each chunk is free once the upload has taken its bytes", async () => {
    const entries = new MemoryEntryStore();
    const chunks: Uint8Array[] = [];
    const { stored, sent } = await store(async (options) => {
      const staged = await entries.stage(KEY, options);
      const write = staged.write.bind(staged);
      // At once and later, as where the bytes go to a file.
      staged.write = (chunk) =>
        chunks.push(chunk) % 2 === 0 ? write(chunk) : Promise.resolve().then(() => write(chunk));
      return staged;
    });
    sent.end(BODY);
    expect(await stored).toBe(BODY.length);
    expect(Buffer.from((await (await entries.get(KEY))?.bytes()) ?? [])).toEqual(BODY);
    expect(chunks.length).toBeGreaterThan(1);
    expect(chunks.map(({ buffer }) => buffer.byteLength)).toEqual(chunks.map(() => 0));
  });

  test("a client that goes while staging waits ends the wait", async () => {
    const waiting = Promise.withResolvers<AbortSignal>();
    const { stored, sent } = await store(async ({ signal }) => {
      if (signal === undefined) throw new Error("there is a signal");
      waiting.resolve(signal);
      await once(signal, "abort");
      throw new CacheError("cancelled", "nobody waits any more");
    });
    expect((await waiting.promise).aborted).toBe(false);
    sent.destroy();
    await expect(stored).rejects.toMatchObject({ code: "cancelled" });
  });

  test("an upload that has begun is not aborted by the end of its body", async () => {
    const entries = new MemoryEntryStore();
    let given: AbortSignal | undefined;
    const { stored, sent } = await store(({ signal, ...options }) => {
      given = signal;
      return entries.stage(KEY, options);
    });
    sent.end(BODY);
    const [answer] = (await once(sent, "response")) as [IncomingMessage];
    await once(answer.resume(), "end");
    expect([await stored, given?.aborted]).toEqual([BODY.length, false]);
  });
});
