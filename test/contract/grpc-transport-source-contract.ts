import { once } from "node:events";
import { status } from "@grpc/grpc-js";
import { describe, expect, test, vi } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import type { ResponseSource } from "../../src/grpc/transport/handler.ts";
import { KIB_64, WAIT, type StartTransport } from "./grpc-transport-harness.ts";
import { collect, pausedAfterFirst, serverStream, unary } from "./grpc-transport-methods.ts";

const COUNT = 100;

/** Numbered texts, of which every `waits`-th has to be waited for. */
class Texts implements ResponseSource<string> {
  taken = 0;
  isClosed = false;
  readonly #waits: number;
  readonly #textOf: (number: number) => string;
  #isHere = true;

  constructor(waits: number, textOf: (number: number) => string = String) {
    this.#waits = waits;
    this.#textOf = textOf;
  }

  take(): string | undefined {
    if (!this.#isHere || this.taken === COUNT) return undefined;
    const text = this.#textOf(this.taken++);
    this.#isHere = this.taken % this.#waits !== 0;
    return text;
  }

  more(): Promise<boolean> | false {
    this.#isHere = true;
    return this.taken < COUNT && Promise.resolve(true);
  }

  close(): void {
    this.isClosed = true;
  }
}

/** Responses that are taken rather than iterated. */
export function describeSources(name: string, start: StartTransport): void {
  describe(`${name}: response sources`, () => {
    test.each([1, 2, 7, COUNT + 1])(
      "are taken to the end, in order, and closed, where each %i-th response is waited for",
      async (waits) => {
        const source = new Texts(waits);
        const harness = await start({ ServerStream: () => source });
        const { texts, error } = await collect(serverStream(harness.client(), ""));
        expect(error).toBeUndefined();
        expect(texts).toEqual(Array.from({ length: COUNT }, (_, number) => `${number}`));
        expect(source.isClosed).toBe(true);
      },
    );

    test.each([1, COUNT + 1])(
      "that throw end the call after what came before, each %i-th waited for",
      async (waits) => {
        const source = new Texts(waits, (number) => {
          if (number === 10) throw new CacheError("not_found", "no more");
          return `${number}`;
        });
        const harness = await start({ ServerStream: () => source });
        const { texts, error } = await collect(serverStream(harness.client(), ""));
        expect(error).toMatchObject({ code: status.NOT_FOUND, details: "no more" });
        expect(texts.length).toBeLessThanOrEqual(10);
        expect(source.isClosed).toBe(true);
        expect(harness.faults).toEqual([]);
      },
    );

    test("are taken no further than the client reads, and others get through meanwhile", async () => {
      const source = new Texts(COUNT + 1, () => KIB_64);
      const harness = await start({ ServerStream: () => source, Unary: async (text) => text });
      const client = harness.client();
      const stream = await pausedAfterFirst(serverStream(client, ""));
      for (let round = 0; round < 20; round++) expect(await unary(client, "through")).toBe("through");
      expect(source.taken).toBeLessThan(60);
      expect((await collect(stream)).texts.length).toBe(COUNT - 1);
    });

    test("are closed when the client cancels, also while they are waited for", async () => {
      const closed = Promise.withResolvers<void>();
      let texts = ["first"];
      const source: ResponseSource<string> = {
        take: () => texts.pop(),
        more: () => closed.promise.then(() => false),
        close: () => closed.resolve(),
      };
      const harness = await start({ ServerStream: () => source });
      const stream = serverStream(harness.client(), "");
      stream.on("error", () => {});
      await once(stream, "data");
      texts = [];
      stream.cancel();
      await closed.promise;
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
    });

    test("are closed when the client cancels with responses under way", async () => {
      const source = new Texts(COUNT + 1, () => KIB_64);
      const harness = await start({ ServerStream: () => source });
      const stream = await pausedAfterFirst(serverStream(harness.client(), ""));
      stream.on("error", () => {});
      stream.cancel();
      await vi.waitFor(() => expect(harness.transport.callsInFlight).toBe(0), WAIT);
      expect(source.isClosed).toBe(true);
      expect(source.taken).toBeLessThan(COUNT);
    });
  });
}
