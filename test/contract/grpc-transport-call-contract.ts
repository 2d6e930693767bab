import { once } from "node:events";
import { Metadata, status } from "@grpc/grpc-js";
import { describe, expect, test, vi } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import type { CallContext } from "../../src/grpc/transport/handler.ts";
import { KIB_64, WAIT, type StartTransport } from "./grpc-transport-harness.ts";
import { clientStream, collect, duplex, failure, path, serverStream, unary } from "./grpc-transport-methods.ts";

/** The four kinds of calls, and handlers that answer before they have read all. */
export function describeCalls(name: string, start: StartTransport): void {
  describe(`${name}: calls`, () => {
    test("a unary call answers, and its handler sees headers, peer and path", async () => {
      let seen: CallContext | undefined;
      const harness = await start({
        Unary: async (text, call) => {
          seen = call;
          return `${text} ${call.header("x-plain")} ${Buffer.from(call.binaryHeader("x-data-bin") ?? []).toString("hex")}`;
        },
      });
      const metadata = new Metadata();
      metadata.set("x-plain", "plain");
      metadata.set("x-data-bin", Buffer.from([0, 255]));
      expect(await unary(harness.client(), "hello", { metadata })).toBe("hello plain 00ff");
      expect(seen?.path).toBe(path("Unary"));
      expect(seen?.peer).toMatch(/^127\.0\.0\.1:\d+$/);
      expect(seen?.header("absent")).toBeUndefined();
      expect(seen?.binaryHeader("absent-bin")).toBeUndefined();
    });

    test("an empty request and an empty response are messages like any other", async () => {
      const harness = await start({ Unary: async (text) => text });
      expect(await unary(harness.client(), "")).toBe("");
    });

    test("a server stream arrives whole and in order", async () => {
      const harness = await start({
        async *ServerStream(count) {
          for (let index = 0; index < Number(count); index++) yield `${index}`;
        },
      });
      const client = harness.client();
      const { texts } = await collect(serverStream(client, "500"));
      expect(texts).toEqual(Array.from({ length: 500 }, (_, index) => `${index}`));
      expect(await collect(serverStream(client, "0"))).toEqual({ texts: [], error: undefined });
    });

    test("a client stream arrives whole and in order, messages of many frames among them", async () => {
      const harness = await start({
        ClientStream: async (requests) => {
          const received: string[] = [];
          for await (const text of requests) received.push(`${text[0]}${text.length}`);
          return received.join();
        },
      });
      const { stream, outcome } = clientStream(harness.client());
      for (const text of ["a", "b".repeat(1_000_000), "c", "d".repeat(70_000)]) stream.write(text);
      stream.end();
      expect((await outcome).texts).toEqual(["a1,b1000000,c1,d70000"]);
    });

    test("a duplex call answers while requests still come", async () => {
      const harness = await start({
        async *Duplex(requests) {
          for await (const text of requests) yield `${text}!`;
        },
      });
      const call = duplex(harness.client());
      for (const text of ["one", "two"]) {
        call.write(text);
        const [answer] = await once(call, "data");
        expect(answer).toBe(`${text}!`);
      }
      call.end();
      await once(call, "end");
    });

    test("700 uploads at once over one connection all get their own answer", async () => {
      const harness = await start({
        ClientStream: async (requests) => {
          let text = "";
          for await (const part of requests) text += part;
          return text;
        },
      });
      const client = harness.client();
      const calls = Array.from({ length: 700 }, (_, index) => {
        const call = clientStream(client);
        for (let part = 0; part < 4; part++) call.stream.write(`${index}.${part} `);
        call.stream.end();
        return call.outcome;
      });
      const outcomes = await Promise.all(calls);
      expect(outcomes.map(({ texts }) => texts[0])).toEqual(
        Array.from({ length: 700 }, (_, index) => `${index}.0 ${index}.1 ${index}.2 ${index}.3 `),
      );
    });

    test("a connection whose first bytes were read and put back is taken over", async () => {
      const harness = await start({ Unary: async (text) => text }, { peek: true });
      expect(await unary(harness.client(), "hello")).toBe("hello");
    });

    test("an unknown method is UNIMPLEMENTED", async () => {
      const harness = await start({ Unary: async (text) => text });
      const error = await failure(unary(harness.client(), "x", { method: "/kura.test.Texts/Nothing" }));
      expect(error.code).toBe(status.UNIMPLEMENTED);
    });

    test("two requests for a unary method are UNIMPLEMENTED, and so is none", async () => {
      const harness = await start({ Unary: async (text) => text });
      const client = harness.client();
      const two = duplex(client, path("Unary"));
      two.write("a");
      two.write("b");
      two.end();
      expect((await collect(two)).error?.code).toBe(status.UNIMPLEMENTED);
      const none = duplex(client, path("Unary"));
      none.end();
      expect((await collect(none)).error?.code).toBe(status.UNIMPLEMENTED);
      expect(await unary(client, "still here")).toBe("still here");
    });
  });

  describe(`${name}: a handler that returns early`, () => {
    test("a client stream that is answered after its first message ends OK, the rest is discarded", async () => {
      const harness = await start({
        ClientStream: async (requests) => {
          for await (const text of requests) return `enough after ${text.length}`;
          return "none";
        },
        Unary: async (text) => text,
      });
      const client = harness.client();
      for (let round = 0; round < 20; round++) {
        const { stream, outcome } = clientStream(client);
        for (let count = 0; count < 40; count++) stream.write(KIB_64);
        expect((await outcome).texts).toEqual([`enough after ${KIB_64.length}`]);
      }
      expect(await unary(client, "usable")).toBe("usable");
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
    });

    test("a client stream that is refused unread ends with the error, the connection stays usable", async () => {
      const harness = await start({
        ClientStream: () => Promise.reject(new CacheError("failed_precondition", "not now")),
        Unary: async (text) => text,
      });
      const client = harness.client();
      for (let round = 0; round < 20; round++) {
        const { stream, outcome } = clientStream(client);
        for (let count = 0; count < 40; count++) stream.write(KIB_64);
        expect((await outcome).error).toMatchObject({ code: status.FAILED_PRECONDITION, details: "not now" });
      }
      expect(await unary(client, "usable")).toBe("usable");
    });
  });
}
