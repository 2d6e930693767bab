import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlobCheck } from "../../bench/blob-check.ts";
import { bytesField, grpcMessage } from "../../bench/proto-fields.ts";
import { ReadCheck } from "../../bench/read-check.ts";

const CONTENT = Buffer.from("the content that all blobs of this size share 0000");
const STAMP = Buffer.from("1234");
const WHOLE = Buffer.concat([CONTENT.subarray(0, -STAMP.length), STAMP]);
const BLOB = { hash: "hash", sizeBytes: WHOLE.length, stamp: STAMP };

/** A body of ReadResponses. */
function body(data: Buffer, messageBytes: number): Buffer {
  const messages: Buffer[] = [];
  for (let at = 0; at < data.length; at += messageBytes) {
    messages.push(grpcMessage(bytesField(10, data.subarray(at, at + messageBytes))));
  }
  return Buffer.concat(messages);
}

/** Takes the body in pieces, as sockets have them. */
function check(bytes: Buffer, pieceBytes: number, content: Buffer | undefined = CONTENT): void {
  const reading = new ReadCheck(new BlobCheck(BLOB, content));
  for (let at = 0; at < bytes.length; at += pieceBytes) {
    reading.onData(bytes, at, Math.min(bytes.length, at + pieceBytes));
  }
  reading.end();
}

const sizes = fc.integer({ min: 1, max: 80 });

describe("the check of a read", () => {
  it("takes the blob, in whatever messages and pieces it comes", () => {
    fc.assert(fc.property(sizes, sizes, (messageBytes, pieceBytes) => check(body(WHOLE, messageBytes), pieceBytes)));
  });

  it("finds any wrong byte", () => {
    const places = fc.integer({ min: 0, max: WHOLE.length - 1 });
    fc.assert(
      fc.property(places, sizes, sizes, (place, messageBytes, pieceBytes) => {
        const wrong = Buffer.from(WHOLE);
        wrong.writeUInt8(wrong.readUInt8(place) ^ 1, place);
        expect(() => check(body(wrong, messageBytes), pieceBytes)).toThrow(/a wrong (byte|end)/);
      }),
    );
  });

  it("finds a byte too few and one too many", () => {
    expect(() => check(body(WHOLE.subarray(0, -1), 20), 7)).toThrow(`expected ${WHOLE.length} bytes`);
    expect(() => check(body(Buffer.concat([WHOLE, STAMP]), 20), 7)).toThrow("more bytes");
    expect(() => check(body(WHOLE, 20).subarray(0, -1), 7)).toThrow("within a message");
  });

  it("finds another blob of the same content by its stamp alone", () => {
    const other = Buffer.concat([WHOLE.subarray(0, -1), Buffer.from("5")]);
    expect(() => check(body(other, 20), 7, undefined)).toThrow("a wrong end");
  });
});
