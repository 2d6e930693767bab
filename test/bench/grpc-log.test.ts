import { describe, expect, it } from "vitest";
import { bytesField, varintField } from "../../bench/proto-fields.ts";
import { decodeGrpcLog } from "../../bench/replay/grpc-log.ts";

const HASH = "ab".repeat(32);

function text(number: number, value: string): Buffer {
  return bytesField(number, Buffer.from(value));
}

function message(number: number, ...fields: Buffer[]): Buffer {
  return bytesField(number, Buffer.concat(fields));
}

function digest(number: number, sizeBytes: number): Buffer {
  return message(number, text(1, HASH), varintField(2, sizeBytes));
}

/** A LogEntry behind its length. */
function entry(method: string, statusCode: number, details: Buffer): Buffer {
  const fields = Buffer.concat([
    message(1, text(2, "action")),
    message(2, varintField(1, statusCode)),
    text(3, `package.Service/${method}`),
    bytesField(4, details),
    message(5, varintField(1, 10), varintField(2, 500_000_000)),
    message(6, varintField(1, 11)),
  ]);
  // The tag of a field, without which the rest of it is what a log has.
  return bytesField(1, fields).subarray(1);
}

describe("a gRPC log of Bazel", () => {
  it("tells when each call was made, for which action, and how it ended", () => {
    const [hit, miss] = decodeGrpcLog(
      Buffer.concat([entry("GetActionResult", 0, Buffer.alloc(0)), entry("GetActionResult", 5, Buffer.alloc(0))]),
    );
    expect(hit).toMatchObject({
      action: "action",
      method: "GetActionResult",
      isOk: true,
      startMs: 10_500,
      endMs: 11_000,
    });
    expect(miss).toMatchObject({ isOk: false });
  });

  it("tells the blobs of each kind of call", () => {
    const blob = { hash: HASH, sizeBytes: 300 };
    const read = message(5, message(1, text(1, `blobs/${HASH}/300`)));
    const write = message(6, text(1, `instance/uploads/00000000-0000/blobs/${HASH}/300`));
    const find = message(10, message(1, digest(2, 300), digest(2, 1)));
    const log = Buffer.concat([entry("Read", 0, read), entry("Write", 0, write), entry("FindMissingBlobs", 0, find)]);
    expect(decodeGrpcLog(log).map(({ blobs }) => blobs)).toEqual([
      [blob],
      [blob],
      [blob, { hash: HASH, sizeBytes: 1 }],
    ]);
  });

  it("tells the outputs of an action", () => {
    const file = message(2, text(1, "out"), digest(2, 1));
    const directory = message(3, text(1, "dir"), digest(3, 2));
    const result = message(3, file, directory, digest(6, 3), digest(8, 4));
    const [update] = decodeGrpcLog(entry("UpdateActionResult", 0, message(13, message(1, result))));
    const { files, trees, streams } = update?.outputs ?? { files: [], trees: [], streams: [] };
    const sizes = [files, trees, streams].map((blobs) => blobs.map((blob) => blob.sizeBytes));
    expect(sizes).toEqual([[1], [2], [3, 4]]);
  });
});
