import { describe, expect, test } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { RequestReader } from "../../src/grpc/request-reader.ts";
import { expectCode } from "../contract/entry-store-contract.ts";
import { ManualTimers } from "../support/manual-timers.ts";
import { RequestStream } from "../support/request-stream.ts";

function fixture() {
  const stream = new RequestStream<string>();
  const abort = new AbortController();
  const timers = new ManualTimers();
  const reader = new RequestReader(stream, { signal: abort.signal, idleMsMax: 1000, timers });
  return { stream, abort, timers, reader };
}

describe("RequestReader", () => {
  test("gives the messages in order and then undefined", async () => {
    const { stream, reader } = fixture();
    stream.send("a");
    expect(await reader.next()).toBe("a");
    const pending = reader.next();
    stream.send("b");
    stream.end();
    expect(await pending).toBe("b");
    expect(await reader.next()).toBeUndefined();
  });

  test("an interruption breaks off the pending wait and every later one, and the first one counts", async () => {
    const { reader } = fixture();
    const pending = expectCode("unavailable", () => reader.next());
    reader.interrupt(new CacheError("unavailable", "first"));
    reader.interrupt(new CacheError("internal", "second"));
    await pending;
    await expectCode("unavailable", () => reader.next());
  });

  test("the end of the call breaks off the wait", async () => {
    const { reader, abort } = fixture();
    const pending = expectCode("cancelled", () => reader.next());
    abort.abort();
    await pending;
  });

  test("a call that has ended already is read no more", async () => {
    const signal = AbortSignal.abort();
    const reader = new RequestReader(new RequestStream<string>(), { signal, idleMsMax: 1, timers: new ManualTimers() });
    await expectCode("cancelled", () => reader.next());
  });

  test("an error of the stream itself comes through", async () => {
    const { reader, stream } = fixture();
    const pending = expectCode("internal", () => reader.next());
    stream.fail(new CacheError("internal", "broken"));
    await pending;
  });

  test("without progress the wait ends at the deadline, messages or none", async () => {
    const { reader, stream, timers } = fixture();
    timers.advance(500);
    stream.send("no progress by itself");
    await reader.next();
    const pending = expectCode("deadline_exceeded", () => reader.next());
    timers.advance(500);
    await pending;
  });

  test("progress begins the deadline anew", async () => {
    const { reader, stream, timers } = fixture();
    timers.advance(999);
    reader.noteProgress(1);
    timers.advance(999);
    stream.send("still read");
    expect(await reader.next()).toBe("still read");
  });

  test("the deadline does not count the time in which the server is busy", async () => {
    const { reader, stream, timers } = fixture();
    timers.advance(5000);
    stream.send("read late");
    expect(await reader.next()).toBe("read late");
  });

  test("disposing of it leaves no timer", () => {
    const { reader, timers } = fixture();
    expect(timers.running).toBe(1);
    reader[Symbol.dispose]();
    expect(timers.running).toBe(0);
  });
});
