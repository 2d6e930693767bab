import { once } from "node:events";
import type { Socket } from "node:net";
import { status } from "@grpc/grpc-js";
import { describe, expect, test, vi } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { MemoryBudget } from "../../src/cache/memory-budget.ts";
import { ManualTimers } from "../support/manual-timers.ts";
import { KIB_64, WAIT, type StartTransport } from "./grpc-transport-harness.ts";
import {
  clientStream,
  collect,
  failure,
  path,
  pausedAfterFirst,
  serverStream,
  unary,
} from "./grpc-transport-methods.ts";
import { callFrame, beginHttp2, messageFrame, resetFrame } from "./raw-http2.ts";

/** Back-pressure both ways, and calls that the client ends. */
export function describeFlow(name: string, start: StartTransport): void {
  describe(`${name}: back-pressure`, () => {
    test("a client stream is read no further than its handler asks", async () => {
      const proceed = Promise.withResolvers<void>();
      const harness = await start({
        ClientStream: async (requests) => {
          let count = 0;
          for await (const _text of requests) {
            count++;
            if (count === 1) await proceed.promise;
          }
          return `${count}`;
        },
        Unary: async (text) => text,
      });
      const client = harness.client();
      const { stream, outcome } = clientStream(client);
      let flushed = 0;
      for (let count = 0; count < 100; count++) stream.write(KIB_64, () => flushed++);
      stream.end();
      await vi.waitFor(() => expect(flushed).toBeGreaterThan(0), WAIT);
      // Other calls of the connection get through meanwhile.
      for (let round = 0; round < 20; round++) expect(await unary(client, "through")).toBe("through");
      expect(flushed).toBeLessThan(20);
      proceed.resolve();
      expect((await outcome).texts).toEqual(["100"]);
    });

    test("a handler is held back while its responses are not taken", async () => {
      let yielded = 0;
      const harness = await start({
        async *ServerStream() {
          for (; yielded < 200; yielded++) yield KIB_64;
        },
        Unary: async (text) => text,
      });
      const client = harness.client();
      const stream = await pausedAfterFirst(serverStream(client, ""));
      for (let round = 0; round < 20; round++) expect(await unary(client, "through")).toBe("through");
      expect(yielded).toBeLessThan(60);
      expect((await collect(stream)).texts.length).toBe(199);
    });

    test("memory that a call holds is given back when it is over, however it ends, and others wait for it in order", async () => {
      const timers = new ManualTimers();
      const memory = new MemoryBudget(100, { timers });
      const proceed = Promise.withResolvers<void>();
      const harness = await start(
        {
          Unary: async (text, call) => {
            await call.holdMemory(60);
            if (text === "first") await proceed.promise;
            if (text === "bad") throw new CacheError("not_found", "gone");
            return text;
          },
        },
        { memory },
      );
      const client = harness.client();
      const answers = [unary(client, "first"), failure(unary(client, "bad")), unary(client, "last")] as const;
      await vi.waitFor(() => expect(memory.waiterCount).toBe(2), WAIT);
      proceed.resolve();
      expect([await answers[0], (await answers[1]).code, await answers[2]]).toEqual([
        "first",
        status.NOT_FOUND,
        "last",
      ]);
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
      expect([memory.usedBytes, memory.waiterCount, timers.running]).toEqual([0, 0, 0]);
    });

    test("a call that finds no memory in time is refused, and one that ends meanwhile leaves nothing taken", async () => {
      const timers = new ManualTimers();
      const memory = new MemoryBudget(100, { timers });
      memory.take(50);
      const harness = await start({ Unary: async (text, call) => (await call.holdMemory(60), text) }, { memory });
      const client = harness.client();
      const refused = failure(unary(client, "late"));
      await vi.waitFor(() => expect(memory.waiterCount).toBe(1), WAIT);
      timers.advance(5000);
      expect(await refused).toMatchObject({ code: status.RESOURCE_EXHAUSTED });
      const gone = failure(unary(client, "gone", { deadlineMs: 100 }));
      await vi.waitFor(() => expect(memory.waiterCount).toBe(1), WAIT);
      expect((await gone).code).toBe(status.DEADLINE_EXCEEDED);
      memory.give(50);
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
      expect([memory.usedBytes, memory.waiterCount]).toEqual([0, 0]);
    });

    test("a handler whose responses are not taken for the stated time is stopped", async () => {
      const stopped = Promise.withResolvers<unknown>();
      const harness = await start(
        {
          async *ServerStream(_text, call) {
            try {
              for (;;) yield KIB_64;
            } finally {
              stopped.resolve(call.signal.reason);
            }
          },
        },
        // Long enough for the first message to arrive on a busy machine: before that there is nothing to pause.
        { sendStallTimeoutMs: 1000 },
      );
      await pausedAfterFirst(serverStream(harness.client(), ""));
      expect(await stopped.promise).toMatchObject({ code: "deadline_exceeded" });
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
    });
  });

  describe(`${name}: cancellation`, () => {
    test("a client that cancels a client stream aborts the handler's signal", async () => {
      const reading = Promise.withResolvers<void>();
      const reason = Promise.withResolvers<unknown>();
      const harness = await start({
        ClientStream: async (requests, call) => {
          call.signal.addEventListener("abort", () => reason.resolve(call.signal.reason));
          for await (const _text of requests) reading.resolve();
          // Clients on Node half-close before they reset: it is the reset that counts.
          await reason.promise;
          return "";
        },
      });
      const { stream, outcome } = clientStream(harness.client());
      stream.write("first");
      await reading.promise;
      stream.cancel();
      expect(await reason.promise).toMatchObject({ code: "cancelled" });
      expect((await outcome).error?.code).toBe(status.CANCELLED);
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
      expect(harness.faults).toEqual([]);
    });

    test.each([
      ["reset", (socket: Socket) => socket.write(resetFrame(1))],
      ["cut off with its connection", (socket: Socket) => socket.destroy()],
      ["closed with its connection", (socket: Socket) => socket.end()],
    ])("a client stream that is %s is not taken for one that is complete", async (_how, interrupt) => {
      const reading = Promise.withResolvers<void>();
      const ended = Promise.withResolvers<unknown>();
      const harness = await start({
        ClientStream: async (requests) => {
          try {
            for await (const _text of requests) reading.resolve();
          } catch (thrown) {
            ended.resolve(thrown);
            throw thrown;
          }
          ended.resolve("complete");
          return "";
        },
      });
      const socket = await harness.connect();
      beginHttp2(socket);
      socket.write(Buffer.concat([callFrame(1, path("ClientStream")), messageFrame(1, "first")]));
      await reading.promise;
      interrupt(socket);
      expect(await ended.promise).toMatchObject({ code: "cancelled" });
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
      socket.destroy();
    });

    test("a client that cancels a server stream has the handler's iterator returned, also while it waits", async () => {
      const cleanedUp = Promise.withResolvers<void>();
      const harness = await start({
        ServerStream: () => ({
          [Symbol.asyncIterator]: () => {
            let count = 0;
            const waiting = Promise.withResolvers<IteratorResult<string>>();
            return {
              next: () => (count++ === 0 ? Promise.resolve({ done: false, value: "first" }) : waiting.promise),
              return: () => {
                cleanedUp.resolve();
                waiting.resolve({ done: true, value: undefined });
                return Promise.resolve({ done: true, value: undefined });
              },
            };
          },
        }),
      });
      const stream = serverStream(harness.client(), "");
      stream.on("error", () => {});
      await once(stream, "data");
      stream.cancel();
      await cleanedUp.promise;
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
    });

    test("a client that cancels in the middle of responses has the generator's clean-up run", async () => {
      const cleanedUp = Promise.withResolvers<void>();
      const harness = await start({
        async *ServerStream() {
          try {
            for (;;) yield KIB_64;
          } finally {
            cleanedUp.resolve();
          }
        },
      });
      const stream = serverStream(harness.client(), "");
      stream.on("error", () => {});
      await once(stream, "data");
      stream.cancel();
      await cleanedUp.promise;
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
    });

    test("a connection that vanishes aborts every call on it", async () => {
      const reasons: unknown[] = [];
      const started = Promise.withResolvers<void>();
      let startedCount = 0;
      const harness = await start({
        Unary: (_text, call) => {
          if (++startedCount === 3) started.resolve();
          return new Promise((_resolve, reject) => {
            call.signal.addEventListener("abort", () => {
              reasons.push(call.signal.reason);
              reject(new Error("stopped"));
            });
          });
        },
      });
      const client = harness.client();
      const calls = [failure(unary(client, "a")), failure(unary(client, "b")), failure(unary(client, "c"))];
      await started.promise;
      for (const socket of harness.sockets) socket.destroy();
      await Promise.all(calls);
      await vi.waitFor(() => expect(reasons.length).toBe(3), WAIT);
      expect(reasons).toEqual(Array.from({ length: 3 }, () => expect.objectContaining({ code: "cancelled" })));
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
      // What a handler throws once nobody listens is no fault.
      expect(harness.faults).toEqual([]);
    });

    test("a deadline that passes aborts the handler and is the client's answer", async () => {
      const reason = Promise.withResolvers<unknown>();
      const harness = await start({
        Unary: (_text, call) =>
          new Promise((_resolve, reject) => {
            call.signal.addEventListener("abort", () => {
              reason.resolve(call.signal.reason);
              reject(call.signal.reason);
            });
          }),
      });
      const error = await failure(unary(harness.client(), "x", { deadlineMs: 80 }));
      expect(error.code).toBe(status.DEADLINE_EXCEEDED);
      // Which of the two ends sees the deadline first is a matter of luck: the client cancels when it does.
      expect(["deadline_exceeded", "cancelled"]).toContain(((await reason.promise) as CacheError).code);
    });
  });
}
