import { once } from "node:events";
import type { Client, ClientReadableStream } from "@grpc/grpc-js";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { BoundMethod, ResponseSource } from "../../src/grpc/transport/handler.ts";
import { type HarnessOptions, type TransportFactory, TransportHarness, WAIT } from "./grpc-transport-harness.ts";

interface LentResponse {
  readonly bytes: Buffer;
  readonly giveBack: () => void;
}

const PATH = "/kura.test.Lender/Pieces";
const PIECES = 60;
const GIVEN_BACK = 0xff;

const unchanged = (bytes: Buffer): Buffer => bytes;

/**
 * Asked for a size, gives pieces of it that are spoiled the moment they are given back.
 * @param isSource whether the transport takes them, where every other has to be waited for; else they are iterated.
 */
function lender(isSource: boolean): { method: BoundMethod; counts: { lent: number; givenBack: number } } {
  const counts = { lent: 0, givenBack: 0 };
  const lend = (request: unknown, number: number): LentResponse => {
    const bytes = Buffer.alloc((request as Buffer).readUInt32BE(0), number);
    counts.lent++;
    const giveBack = (): void => {
      bytes.fill(GIVEN_BACK);
      counts.givenBack++;
    };
    return { bytes, giveBack };
  };
  async function* iterate(request: unknown): AsyncGenerator<LentResponse> {
    for (let number = 0; number < PIECES; number++) yield lend(request, number);
  }
  const source = (request: unknown): ResponseSource<LentResponse> => {
    let number = 0;
    let isHere = true;
    return {
      take: () => {
        if (!isHere || number === PIECES) return undefined;
        isHere = number % 2 === 1;
        return lend(request, number++);
      },
      more: async () => {
        isHere = true;
        return number < PIECES;
      },
      close: () => {},
    };
  };
  const handler = isSource ? source : iterate;
  const definition = {
    path: PATH,
    decodeRequest: (bytes: Buffer) => Buffer.from(bytes),
    encodeResponse: (response: unknown) => Buffer.from((response as LentResponse).bytes),
    encodeResponsePieces: (response: unknown) => [(response as LentResponse).bytes],
    lentBy: (response: unknown) => (response as LentResponse).giveBack,
  };
  return { method: { kind: "serverStream", definition, handler }, counts };
}

function ask(client: Client, pieceBytes: number): ClientReadableStream<Buffer> {
  const request = Buffer.alloc(4);
  request.writeUInt32BE(pieceBytes);
  return client.makeServerStreamRequest(PATH, unchanged, unchanged, request);
}

/** @throws where a piece is not as it was lent. */
async function checkAll(stream: ClientReadableStream<Buffer>, pieceBytes: number, firstNumber = 0): Promise<void> {
  let number = firstNumber;
  for await (const piece of stream as AsyncIterable<Buffer>) {
    if (!piece.equals(Buffer.alloc(pieceBytes, number))) throw new Error(`piece ${number} is not as it was lent`);
    number++;
  }
  if (number !== PIECES) throw new Error(`expected ${PIECES} pieces, got ${number}`);
}

/** Responses in memory that is used again. */
export function describeLending(name: string, factory: TransportFactory, options: HarnessOptions): void {
  describe.each([true, false])(`${name}: responses that are lent, taken (%s) or iterated`, (isSource) => {
    let harness: TransportHarness | undefined;
    afterEach(async () => {
      await harness?.[Symbol.asyncDispose]();
    });

    test.each([1, 100, 2049, 70_000, 300_000])(
      "of %i bytes are given back, and not before they are sent",
      async (bytes) => {
        const { method, counts } = lender(isSource);
        harness = await TransportHarness.start(factory, [method], options);
        const [one, other] = [harness.client(), harness.client()];
        await Promise.all([one, one, other, other].map((client) => checkAll(ask(client, bytes), bytes)));
        await vi.waitFor(() => expect(counts.givenBack).toBe(counts.lent), WAIT);
      },
    );

    test("stay as they are while the client does not read", async () => {
      const { method } = lender(isSource);
      harness = await TransportHarness.start(factory, [method], options);
      const client = harness.client();
      const paused = ask(client, 70_000);
      const [first] = (await once(paused, "data")) as [Buffer];
      paused.pause();
      expect(first.equals(Buffer.alloc(70_000, 0))).toBe(true);
      for (let round = 0; round < 3; round++) await checkAll(ask(client, 70_000), 70_000);
      await checkAll(paused, 70_000, 1);
    });

    test("of calls that are cancelled spoil nothing of the others", async () => {
      const { method, counts } = lender(isSource);
      harness = await TransportHarness.start(factory, [method], options);
      const client = harness.client();
      for (let round = 0; round < 5; round++) {
        const cancelled = Array.from({ length: 4 }, () => ask(client, 200_000));
        const whole = checkAll(ask(client, 200_000), 200_000);
        for (const stream of cancelled) {
          stream.on("error", () => {});
          stream.once("data", () => stream.cancel());
        }
        await whole;
      }
      expect(counts.givenBack).toBeLessThanOrEqual(counts.lent);
    });
  });
}
