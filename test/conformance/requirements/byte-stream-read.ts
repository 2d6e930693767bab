import { expectBytes, expectEqual, expectFailure, type StatusName } from "../expectations.ts";
import type { Requirement } from "../requirement.ts";

const BLOB_BYTES = 300_000;

/** A row that reads a part of a blob. */
function partRead(id: string, what: string, range: { offset?: number; limit?: number }): Requirement {
  return {
    id: `read.${id}`,
    level: "MUST",
    what,
    source: "ReadRequest",
    check: async (target) => {
      const blob = await target.storeNew(BLOB_BYTES);
      const start = range.offset ?? 0;
      const expected = blob.bytes.subarray(start, start + (range.limit ?? BLOB_BYTES));
      expectBytes("a part", expected, await target.read(target.blobName(blob), range));
    },
  };
}

/** A row that asks for a part that there is not. */
function refusedRead(
  id: string,
  what: string,
  range: { offset?: number; limit?: number },
  ...codes: StatusName[]
): Requirement {
  return {
    id: `read.${id}`,
    level: "MUST",
    what,
    source: "ReadRequest",
    check: async (target) => {
      const blob = await target.storeNew(BLOB_BYTES);
      await expectFailure(target.read(target.blobName(blob), range), ...codes);
    },
  };
}

export const readRequirements: readonly Requirement[] = [
  partRead("whole", "a blob comes back as it was uploaded", {}),
  partRead("offset", "read_offset skips bytes", { offset: 123_456 }),
  partRead("limit", "read_limit ends the stream without an error", { limit: 1000 }),
  partRead("offset-and-limit", "both together", { offset: 123_456, limit: 1000 }),
  partRead("limit-past-end", "a read_limit past the end gives what there is", { offset: 299_000, limit: 5000 }),
  partRead("offset-at-end", "read_offset at the size gives an empty stream", { offset: BLOB_BYTES }),
  refusedRead("offset-past-end", "read_offset past the size is OUT_OF_RANGE", { offset: 300_001 }, "OUT_OF_RANGE"),
  refusedRead("negative-offset", "a negative read_offset is OUT_OF_RANGE", { offset: -1 }, "OUT_OF_RANGE"),
  refusedRead("negative-limit", "a negative read_limit is an error", { limit: -1 }),
  {
    id: "read.missing",
    level: "MUST",
    what: "a blob that is not there is NOT_FOUND",
    source: "ByteStream.Read",
    check: async (target) => {
      await expectFailure(target.read(target.blobName(target.freshBlob(1000))), "NOT_FOUND");
    },
  },
  {
    id: "read.empty-blob",
    level: "MUST",
    what: "the empty blob can be read though nobody has uploaded it",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const bytes = await target.read(target.blobName(target.emptyBlob));
      expectEqual("bytes", 0, bytes.length);
    },
  },
];
