import { Metadata, status } from "@grpc/grpc-js";
import { describe, expect, test, vi } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { retryInfoCodec, statusCodec } from "../../src/grpc/proto-definitions.ts";
import { WAIT, type StartTransport } from "./grpc-transport-harness.ts";
import { clientStream, collect, failure, path, serverStream, unary } from "./grpc-transport-methods.ts";

/** Errors of handlers and of clients, draining, and what the observer is told. */
export function describeFailures(name: string, start: StartTransport): void {
  describe(`${name}: errors`, () => {
    test("a CacheError reaches the client with status, message and RetryInfo", async () => {
      const harness = await start({
        Unary: () => Promise.reject(new CacheError("storage_full", "größer\nals 100 %", { retryAfterMs: 1500 })),
      });
      const error = await failure(unary(harness.client(), "x"));
      expect(error).toMatchObject({ code: status.RESOURCE_EXHAUSTED, details: "größer\nals 100 %" });
      const [details] = error.metadata.get("grpc-status-details-bin");
      const decoded = statusCodec.decode(details as Buffer);
      expect(decoded).toMatchObject({ code: status.RESOURCE_EXHAUSTED, message: "größer\nals 100 %" });
      expect(decoded.details[0]?.type_url).toBe("type.googleapis.com/google.rpc.RetryInfo");
      expect(retryInfoCodec.decode(decoded.details[0]!.value)).toEqual({
        retry_delay: { seconds: 1, nanos: 500_000_000 },
      });
    });

    test("an error after some responses reaches the client after them", async () => {
      const harness = await start({
        async *ServerStream() {
          yield "one";
          yield "two";
          throw new CacheError("not_found", "three is missing");
        },
      });
      const { texts, error } = await collect(serverStream(harness.client(), ""));
      expect(texts).toEqual(["one", "two"]);
      expect(error).toMatchObject({ code: status.NOT_FOUND, details: "three is missing" });
    });

    test("an unknown error is INTERNAL with a reference, and its cause is reported with the same", async () => {
      const cause = new Error("secret");
      const harness = await start({ Unary: () => Promise.reject(cause), ServerStream: () => raise(cause) });
      const client = harness.client();
      const unaryError = await failure(unary(client, "x"));
      const streamError = (await collect(serverStream(client, "x"))).error;
      expect(harness.faults.map(([, reported]) => reported)).toEqual([cause, cause]);
      expect(harness.faults.map(([, , call]) => call?.path)).toEqual([path("Unary"), path("ServerStream")]);
      for (const [index, error] of [unaryError, streamError].entries()) {
        expect(error).toMatchObject({
          code: status.INTERNAL,
          details: `internal error, reference ${harness.faults[index]![0]}`,
        });
      }
    });

    test("a request that cannot be decoded is INVALID_ARGUMENT, and the connection stays usable", async () => {
      const harness = await start({
        Unary: async (text) => text,
        ClientStream: async (requests) => {
          for await (const _text of requests);
          return "read";
        },
      });
      const client = harness.client();
      expect(await failure(unary(client, "undecodable"))).toMatchObject({
        code: status.INVALID_ARGUMENT,
        details: "expected a text, got something else",
      });
      const { stream, outcome } = clientStream(client);
      stream.write("fine");
      stream.write("undecodable");
      stream.end();
      expect((await outcome).error?.code).toBe(status.INVALID_ARGUMENT);
      expect(await unary(client, "usable")).toBe("usable");
    });

    test("a message over the limit is RESOURCE_EXHAUSTED, one at the limit is taken", async () => {
      const aborted = Promise.withResolvers<void>();
      const running = Promise.withResolvers<void>();
      const harness = await start(
        {
          Unary: async (text) => `${text.length}`,
          ClientStream: async (requests, call) => {
            call.signal.addEventListener("abort", () => aborted.resolve());
            for await (const _text of requests) running.resolve();
            return "read";
          },
        },
        { messageBytesMax: 100_000 },
      );
      const client = harness.client();
      expect(await unary(client, "x".repeat(100_000))).toBe("100000");
      expect((await failure(unary(client, "x".repeat(100_001)))).code).toBe(status.RESOURCE_EXHAUSTED);
      const { stream, outcome } = clientStream(client);
      stream.write("fine");
      // A call that is over the limit from the start need not reach its handler.
      await running.promise;
      stream.write("x".repeat(3_000_000));
      expect((await outcome).error?.code).toBe(status.RESOURCE_EXHAUSTED);
      await aborted.promise;
      expect(await unary(client, "usable")).toBe("6");
      expect(harness.faults).toEqual([]);
    });
  });

  describe(`${name}: drain`, () => {
    test("calls in flight finish, idle connections are closed, new calls are UNAVAILABLE", async () => {
      const started = Promise.withResolvers<void>();
      const proceed = Promise.withResolvers<void>();
      const harness = await start({
        Unary: async (text) => {
          if (text !== "slow") return text;
          started.resolve();
          await proceed.promise;
          return "finished";
        },
      });
      const busy = harness.client();
      const idle = harness.client();
      await unary(idle, "hello");
      const slow = unary(busy, "slow");
      await started.promise;
      expect(harness.transport.callsInFlight).toBe(1);
      const drained = harness.transport.drain(20_000);
      await vi.waitFor(() => expect(harness.sockets.size).toBe(1), WAIT);
      expect((await failure(unary(idle, "late"))).code).toBe(status.UNAVAILABLE);
      proceed.resolve();
      expect(await slow).toBe("finished");
      await drained;
      expect(harness.transport.callsInFlight).toBe(0);
      expect(harness.sockets.size).toBe(0);
    });

    test("what is not done by the deadline is cancelled and told UNAVAILABLE", async () => {
      const started = Promise.withResolvers<void>();
      const reason = Promise.withResolvers<unknown>();
      const harness = await start({
        ClientStream: async (requests, call) => {
          call.signal.addEventListener("abort", () => reason.resolve(call.signal.reason));
          for await (const _text of requests) started.resolve();
          return "read";
        },
      });
      const { stream, outcome } = clientStream(harness.client());
      stream.write("first");
      await started.promise;
      await harness.transport.drain(10);
      expect(await reason.promise).toMatchObject({ code: "unavailable" });
      expect((await outcome).error?.code).toBe(status.UNAVAILABLE);
      expect(harness.transport.callsInFlight).toBe(0);
    });

    test("a transport without connections is drained at once, also twice", async () => {
      const harness = await start({ Unary: async (text) => text });
      await harness.transport.drain(20_000);
      await expect(harness.transport.drain(20_000)).resolves.toBeUndefined();
    });
  });

  test(`${name}: the observer is told of the start and the end of every call`, async () => {
    const events: string[] = [];
    const durations: number[] = [];
    const harness = await start(
      {
        Unary: (text) =>
          text === "fail" ? Promise.reject(new CacheError("not_found", "gone")) : Promise.resolve(text),
      },
      {
        observer: {
          started: (method) => events.push(`started ${method}`),
          finished: (method, code, durationMs) => {
            events.push(`finished ${method} ${code}`);
            durations.push(durationMs);
          },
          watch: (call) => {
            const word = call.header("x-word");
            events.push(`watched ${call.path} ${word}`);
            return word === "unwatched" ? undefined : (code) => events.push(`ended ${code}`);
          },
        },
      },
    );
    const client = harness.client();
    const metadata = new Metadata();
    metadata.set("x-word", "unwatched");
    await unary(client, "x", { metadata });
    await failure(unary(client, "fail"));
    const method = path("Unary");
    expect(events).toEqual([
      `started ${method}`,
      `watched ${method} unwatched`,
      `finished ${method} 0`,
      `started ${method}`,
      `watched ${method} undefined`,
      `finished ${method} 5`,
      "ended 5",
    ]);
    expect(durations.every((duration) => duration >= 0)).toBe(true);
  });
}

function raise(error: Error): never {
  throw error;
}
