import fc from "fast-check";
import protobuf from "protobufjs";

const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const hash = fc.oneof(fc.stringMatching(/^[0-9a-f]{64}$/), fc.string({ unit: "grapheme", maxLength: 80 }));

/** A Digest as a client may send it: of any text and size. */
export const anyDigest = fc.record({ hash, size_bytes: size });

/** Fields that a message does not have. */
export function unknownFields(firstUnknownNumber: number): fc.Arbitrary<Buffer> {
  const number = fc.integer({ min: firstUnknownNumber, max: 2 ** 29 - 1 });
  return fc.array(fc.tuple(number, fc.uint8Array({ maxLength: 20 })), { maxLength: 2 }).map((fields) => {
    const writer = protobuf.Writer.create();
    for (const [field, bytes] of fields) writer.uint32(((field << 3) | 2) >>> 0).bytes(bytes);
    return Buffer.from(writer.finish());
  });
}

/** What decoding gives, or the name of the error that it throws. */
export function decodeOutcome(decode: () => unknown): unknown {
  try {
    return decode();
  } catch (error) {
    return (error as Error).name;
  }
}
