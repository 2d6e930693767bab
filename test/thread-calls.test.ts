import { MessageChannel } from "node:worker_threads";
import { afterEach, expect, test } from "vitest";
import { CacheError } from "../src/cache/cache-error.ts";
import { ThreadCalls } from "../src/thread-calls.ts";

interface Methods {
  double: { request: { value: number }; response: { value: number } };
  fail: { request: { error: unknown }; response: Record<never, never> };
  waitForAbort: { request: Record<never, never>; response: { aborted: boolean } };
}
type Nothing = Record<never, never>;

const channels: MessageChannel[] = [];
afterEach(() => {
  for (const { port1 } of channels.splice(0)) port1.close();
});

function connect() {
  const channel = new MessageChannel();
  channels.push(channel);
  const asked: string[] = [];
  const server = new ThreadCalls<Nothing, Methods>(channel.port2, {
    double({ value }) {
      asked.push("double");
      return { value: 2 * value };
    },
    fail({ error }) {
      throw error instanceof Error ? error : new CacheError("storage_full", String(error), { retryAfterMs: 7 });
    },
    async waitForAbort(_request, { signal }) {
      asked.push("waitForAbort");
      await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
      return { aborted: signal.aborted };
    },
  });
  const client = new ThreadCalls<Methods, Nothing>(channel.port1, {});
  return { client, server, asked, port: channel.port2 };
}

test("each call gets its own answer, however many are in flight", async () => {
  const { client } = connect();
  const values = Array.from({ length: 100 }, (_, value) => value);
  const answers = values.map((value) => client.call("double", { value }));
  expect(client.callsInFlight).toBe(100);
  expect(await Promise.all(answers)).toEqual(values.map((value) => ({ value: 2 * value })));
  expect(client.callsInFlight).toBe(0);
});

test("a CacheError keeps its code, message and retry time, another error its message", async () => {
  const { client } = connect();
  const failure = client.call("fail", { error: "no room" });
  await expect(failure).rejects.toBeInstanceOf(CacheError);
  await expect(failure).rejects.toMatchObject({ code: "storage_full", message: "no room", retryAfterMs: 7 });
  await expect(client.call("fail", { error: new RangeError("too far") })).rejects.toThrow("too far");
});

test("an aborted call is cancelled on the other side, which still answers it", async () => {
  const { client } = connect();
  const abort = new AbortController();
  const answer = client.call("waitForAbort", {}, { signal: abort.signal });
  abort.abort();
  expect(await answer).toEqual({ aborted: true });
});

test("a call that was aborted before it was made is cancelled too", async () => {
  const { client } = connect();
  expect(await client.call("waitForAbort", {}, { signal: AbortSignal.abort() })).toEqual({ aborted: true });
});

test("when the other side is gone, who waits fails with the reason, and so does who comes later", async () => {
  const { client, server } = connect();
  const waiting = client.call("waitForAbort", {});
  client.end(new CacheError("unavailable", "gone"));
  await expect(waiting).rejects.toMatchObject({ code: "unavailable", message: "gone" });
  await expect(client.call("double", { value: 1 })).rejects.toThrow("gone");
  server.end(new Error("gone"));
});

test("the side that answers is idle once it has answered all, the cancelled included", async () => {
  const { client, server, asked } = connect();
  client.call("waitForAbort", {}).catch(() => undefined);
  await client.call("double", { value: 1 });
  expect(asked).toEqual(["waitForAbort", "double"]);
  let isIdle = false;
  const idle = server.idle().then(() => (isIdle = true));
  await new Promise(setImmediate);
  expect(isIdle).toBe(false);
  server.end(new Error("gone"));
  await idle;
  client.end(new Error("gone"));
});

test("what is transferred is moved", async () => {
  const { client } = connect();
  const { port1, port2 } = new MessageChannel();
  await client.call("double", { value: 1, port: port1 } as { value: number }, { transfer: [port1] });
  // A port that is elsewhere cannot be sent again.
  expect(() => port2.postMessage(null, [port1])).toThrow("detached");
  port2.close();
});
