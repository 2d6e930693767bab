import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeOutcomes, decodePuts, encodeOutcomes, encodePuts } from "../../../src/storage/shard/put-message.ts";
import type { PutOutcome, PutRequest, StagedSource } from "../../../src/storage/shard/shard-protocol.ts";

const source: fc.Arbitrary<StagedSource> = fc.oneof(
  fc.record({
    kind: fc.constant("slab" as const),
    blocks: fc.array(fc.nat({ max: 100_000 }), { maxLength: 5 }),
    start: fc.nat({ max: 32_767 }),
  }),
  fc.record({ kind: fc.constant("file" as const), path: fc.string() }),
);
const size = fc.oneof(fc.nat(), fc.constantFrom(2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 - 1));
const key = fc.uint8Array({ minLength: 32, maxLength: 32 });
const addressing = fc.oneof(
  fc.record({ contentAddressed: fc.boolean() }),
  fc.record({ contentAddressed: fc.constant(true), contentKey: key }),
);
const plainRequest = fc.record({
  space: fc.integer({ min: 0, max: 255 }),
  key,
  encoding: fc.constantFrom(0, 1),
  sizeBytes: size,
  stagedBytes: size,
  owner: fc.nat({ max: 2 ** 16 - 1 }),
  source,
  adopt: fc.constant(false),
});
const request: fc.Arbitrary<PutRequest> = fc
  .tuple(plainRequest, addressing)
  .map(([fields, addressed]) => ({ ...fields, ...addressed }));
const outcome: fc.Arbitrary<PutOutcome> = fc.oneof(
  fc.record({ status: fc.constantFrom("stored" as const, "present" as const) }),
  fc.record({ status: fc.constant("failed" as const), code: fc.constant("internal" as const), message: fc.string() }),
);

describe("a message to a shard", () => {
  test("holds every upload as it was, in order, after it was cloned", () => {
    fc.assert(
      fc.property(fc.array(request, { maxLength: 8 }), (requests) => {
        const decoded = decodePuts(structuredClone(encodePuts(requests)));
        const plain = (puts: readonly PutRequest[]): unknown =>
          puts.map((put) => ({ ...put, key: [...put.key], contentKey: [...(put.contentKey ?? [])] }));
        expect(plain(decoded)).toEqual(plain(requests));
      }),
    );
  });

  test("its keys have memory of their own", () => {
    const put: PutRequest = {
      space: 1,
      key: new Uint8Array(32),
      contentAddressed: true,
      encoding: 0,
      sizeBytes: 1,
      stagedBytes: 1,
      owner: 0,
      source: { kind: "slab", blocks: [7], start: 0 },
      adopt: false,
    };
    const [first, second] = decodePuts(encodePuts([put, put]));
    first?.key.fill(1);
    expect(second?.key).toEqual(new Uint8Array(32));
  });
});

describe("the answer", () => {
  test("holds every outcome, in order, after it was cloned", () => {
    fc.assert(
      fc.property(fc.array(outcome, { maxLength: 8 }), (outcomes) => {
        expect(decodeOutcomes(structuredClone(encodeOutcomes(outcomes)), outcomes.length)).toEqual(outcomes);
      }),
    );
  });

  test("of another number of uploads is refused", () => {
    const message = encodeOutcomes([{ status: "stored" }]);
    expect(() => decodeOutcomes(message, 2)).toThrow(/expected 2, got 1/);
    expect(() => decodeOutcomes({ codes: Uint8Array.of(2), failures: [] }, 1)).toThrow(/without its reason/);
  });
});
