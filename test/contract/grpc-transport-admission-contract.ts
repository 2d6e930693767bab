import { once } from "node:events";
import { Metadata, status } from "@grpc/grpc-js";
import { describe, expect, test } from "vitest";
import type { ShownCredentials } from "../../src/auth/authorizer.ts";
import { Caller } from "../../src/auth/caller.ts";
import { CacheError } from "../../src/cache/cache-error.ts";
import { KIB_64, type StartTransport } from "./grpc-transport-harness.ts";
import { clientStream, collect, failure, path, serverStream, unary } from "./grpc-transport-methods.ts";

/** Who is let in, and what becomes of a call until that is known. */
export function describeAdmission(name: string, start: StartTransport): void {
  describe(`${name}: admission`, () => {
    const caller = new Caller({ name: "one", grants: [] });

    test("sees what the call shows, and the handler who was let in", async () => {
      const seen: (ShownCredentials & { path: string })[] = [];
      let handled: Caller | undefined;
      const harness = await start(
        {
          Unary: (text, call) => {
            handled = call.caller;
            return text;
          },
        },
        {
          admission: {
            admit: (method, shown) => {
              seen.push({ ...shown, path: method });
              return caller;
            },
          },
        },
      );
      const metadata = new Metadata();
      metadata.set("authorization", "Bearer abc");
      expect(await unary(harness.client(), "hello", { metadata })).toBe("hello");
      expect(seen).toMatchObject([{ path: path("Unary"), authorization: "Bearer abc", certificate: undefined }]);
      expect(seen[0]?.peer).toMatch(/^127\.0\.0\.1:\d+$/);
      expect(handled).toBe(caller);
    });

    test.each([
      ["at once", () => thrown()],
      ["after a while", async () => thrown()],
    ])("refuses %s, with the reason, and no handler hears of it", async (_when, admit) => {
      let handledCount = 0;
      const harness = await start({ Unary: () => `${handledCount++}` }, { admission: { admit } });
      const client = harness.client();
      for (const text of ["small", "x".repeat(1_000_000)]) {
        expect(await failure(unary(client, text))).toMatchObject({ code: status.UNAUTHENTICATED, details: "who?" });
      }
      expect(handledCount).toBe(0);
    });

    test("is told of every call and who makes it, and refuses it then, too", async () => {
      const entered: [string, Caller, string][] = [];
      const shed: (string | undefined)[] = [];
      let handledCount = 0;
      const harness = await start(
        { Unary: () => `${handledCount++}` },
        {
          admission: {
            admit: async () => caller,
            enter: (...call) => {
              entered.push(call);
              if (entered.length > 2) throw new CacheError("resource_exhausted", "too many", { retryAfterMs: 1500 });
            },
          },
          observer: { started: () => {}, finished: (_path, _code, _durationMs, shedBy) => shed.push(shedBy) },
        },
      );
      const client = harness.client();
      expect([await unary(client, "a"), await unary(client, "b")]).toEqual(["0", "1"]);
      for (const text of ["small", "x".repeat(1_000_000)]) {
        const refusal = await failure(unary(client, text));
        expect(refusal).toMatchObject({ code: status.RESOURCE_EXHAUSTED, details: "too many" });
        expect(refusal.metadata.get("grpc-status-details-bin")).toHaveLength(1);
      }
      expect(entered).toHaveLength(4);
      for (const [method, who, peer] of entered) {
        expect([method, who]).toEqual([path("Unary"), caller]);
        expect(peer).toMatch(/^127\.0\.0\.1:\d+$/);
      }
      expect(shed).toEqual([undefined, undefined]);
      expect([handledCount, harness.transport.callsInFlight]).toEqual([2, 0]);
    });

    test("that takes its time loses nothing of what is sent meanwhile", async () => {
      const admitted = Promise.withResolvers<Caller>();
      const harness = await start(
        {
          Unary: (text) => `${text.length}`,
          ClientStream: async (requests) => {
            let length = 0;
            for await (const text of requests) length += text.length;
            return `${length}`;
          },
          async *ServerStream(text) {
            yield text;
          },
        },
        { admission: { admit: (method) => (method === path("ServerStream") ? caller : admitted.promise) } },
      );
      const client = harness.client();
      const large = unary(client, "x".repeat(3_000_000));
      const small = unary(client, "x");
      const { stream, outcome } = clientStream(client);
      for (let sent = 0; sent < 32; sent++) stream.write(KIB_64);
      stream.end();
      // Behind them on the same connection: what they were allowed to send is here when it is answered.
      expect(await collect(serverStream(client, "now"))).toEqual({ texts: ["now"], error: undefined });
      admitted.resolve(caller);
      expect(await Promise.all([large, small])).toEqual(["3000000", "1"]);
      expect((await outcome).texts).toEqual([`${32 * KIB_64.length}`]);
    });

    test("that takes its time leaves nothing of a call that was given up meanwhile", async () => {
      const admitted = Promise.withResolvers<Caller>();
      const asked = Promise.withResolvers<void>();
      let handledCount = 0;
      const harness = await start(
        { ClientStream: async () => `${handledCount++}`, Unary: (text) => text },
        {
          admission: {
            admit: (method) => {
              if (method === path("Unary")) return caller;
              asked.resolve();
              return admitted.promise;
            },
          },
        },
      );
      const client = harness.client();
      const { stream, outcome } = clientStream(client);
      stream.write("text");
      await asked.promise;
      stream.cancel();
      expect((await outcome).error?.code).toBe(status.CANCELLED);
      // An answer to a later call: by then the server has heard of the end.
      expect(await unary(client, "after")).toBe("after");
      admitted.resolve(caller);
      await admitted.promise;
      expect(await unary(client, "last")).toBe("last");
      expect([handledCount, harness.transport.callsInFlight]).toEqual([0, 0]);
      expect(harness.faults).toEqual([]);
    });

    test("ends with its connection", async () => {
      const asked = Promise.withResolvers<void>();
      const admitted = Promise.withResolvers<Caller>();
      const admit = (): Promise<Caller> => {
        asked.resolve();
        return admitted.promise;
      };
      let handledCount = 0;
      const harness = await start({ Unary: () => `${handledCount++}` }, { admission: { admit } });
      const answer = failure(unary(harness.client(), "text"));
      await asked.promise;
      const [socket] = harness.sockets;
      socket?.destroy();
      await once(socket!, "close");
      expect((await answer).code).toBe(status.UNAVAILABLE);
      admitted.resolve(caller);
      await admitted.promise;
      expect([handledCount, harness.transport.callsInFlight]).toEqual([0, 0]);
    });
  });
}

function thrown(): never {
  throw new CacheError("unauthenticated", "who?");
}
