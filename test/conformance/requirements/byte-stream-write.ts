import { expectBytes, expectEqual, expectFailure, expectThat, outcome } from "../expectations.ts";
import type { Requirement } from "../requirement.ts";
import { type Target, writeRequests } from "../target.ts";
import type { Blob } from "../digest-functions.ts";

const MIB = 1024 * 1024;

async function expectStored(target: Target, blob: Blob): Promise<void> {
  expectBytes("a Read", blob.bytes, await target.read(target.blobName(blob)));
}

async function expectAbsent(target: Target, blob: Blob): Promise<void> {
  expectThat((await target.missing(blob)).includes(blob.hash), "the blob to be missing still", "it is present");
}

/** The first half of an upload, and then the end of the stream without finish_write. @returns the resource name. */
async function breakOff(target: Target, blob: Blob): Promise<string> {
  const name = target.uploadName(blob);
  const half = blob.bytes.subarray(0, blob.bytes.length / 2);
  await outcome(target.write([{ resource_name: name, write_offset: 0, data: half }]));
  return name;
}

async function committedSize(target: Target, name: string): Promise<number> {
  const query = target.queryWriteStatus(name);
  // NOT_FOUND means the same: nothing has arrived.
  if ((await outcome(query)).name === "NOT_FOUND") return 0;
  return (await query).committed_size;
}

export const writeRequirements: readonly Requirement[] = [
  {
    id: "write.whole",
    level: "MUST",
    what: "an upload is answered with its full size and can be read at once",
    source: "ByteStream.Write",
    check: async (target) => {
      const blob = target.freshBlob(3 * MIB + 1);
      expectEqual("committed_size", blob.bytes.length, await target.upload(target.uploadName(blob), blob.bytes));
      await expectStored(target, blob);
    },
  },
  {
    id: "write.small-messages",
    level: "MUST",
    what: "messages may be of any size, down to one byte",
    source: "WriteRequest.data",
    check: async (target) => {
      const blob = target.freshBlob(300);
      expectEqual("committed_size", 300, await target.upload(target.uploadName(blob), blob.bytes, 1));
      await expectStored(target, blob);
    },
  },
  {
    id: "write.empty-messages",
    level: "MUST",
    what: "data may be empty in any message, the last one included",
    source: "WriteRequest.data",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const messages = [
        { resource_name: target.uploadName(blob), write_offset: 0 },
        { write_offset: 0, data: blob.bytes },
        { write_offset: 1000 },
        { write_offset: 1000, finish_write: true },
      ];
      expectEqual("committed_size", 1000, await target.write(messages));
      await expectStored(target, blob);
    },
  },
  {
    id: "write.repeated-name",
    level: "MUST",
    what: "resource_name may be repeated in later messages",
    source: "WriteRequest.resource_name",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const resource_name = target.uploadName(blob);
      const messages = [...writeRequests(resource_name, blob.bytes, 400)].map((message) => ({
        ...message,
        resource_name,
      }));
      expectEqual("committed_size", 1000, await target.write(messages));
    },
  },
  {
    id: "write.other-name",
    level: "SHOULD",
    what: "another resource_name in a later message is refused with INVALID_ARGUMENT",
    source: "WriteRequest.resource_name",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const names = [target.uploadName(blob), target.uploadName(target.freshBlob(1000))];
      const messages = [...writeRequests("", blob.bytes, 500)].map((message, index) => ({
        ...message,
        resource_name: names[index] ?? "",
      }));
      await expectFailure(target.write(messages), "INVALID_ARGUMENT");
    },
  },
  {
    id: "write.metadata",
    level: "MUST",
    what: "a resource name may end in metadata",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const blob = target.freshBlob(100);
      const name = `${target.uploadName(blob)}/any/thing.txt`;
      expectEqual("committed_size", 100, await target.upload(name, blob.bytes));
      await expectStored(target, blob);
    },
  },
  {
    id: "write.empty-blob",
    level: "MUST",
    what: "the empty blob can be uploaded",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const name = target.uploadName(target.emptyBlob);
      expectEqual("committed_size", 0, await target.upload(name, target.emptyBlob.bytes));
    },
  },
  {
    id: "write.present",
    level: "MUST",
    what: "an upload of a blob that is there succeeds with its full size",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const blob = await target.storeNew(200_000);
      expectEqual("committed_size", blob.bytes.length, await target.upload(target.uploadName(blob), blob.bytes));
    },
  },
  {
    id: "write.present-early",
    level: "MUST",
    what: "it is answered before all of it is sent",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const blob = await target.storeNew(200_000);
      const [first] = writeRequests(target.uploadName(blob), blob.bytes);
      const committed = await target.write(first === undefined ? [] : [first], { keepOpen: true });
      expectEqual("committed_size", blob.bytes.length, committed);
    },
  },
  {
    id: "write.concurrent",
    level: "MUST",
    what: "several uploads of one blob at the same time all succeed",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const blob = target.freshBlob(2 * MIB);
      const uploads = Array.from({ length: 8 }, () => target.upload(target.uploadName(blob), blob.bytes));
      for (const committed of await Promise.all(uploads)) expectEqual("committed_size", blob.bytes.length, committed);
      await expectStored(target, blob);
    },
  },
  {
    id: "write.wrong-hash",
    level: "MUST",
    what: "data of another hash is refused with INVALID_ARGUMENT and not stored",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      await expectFailure(target.upload(target.uploadName(blob), target.freshBlob(1000).bytes), "INVALID_ARGUMENT");
      await expectAbsent(target, blob);
    },
  },
  {
    id: "write.too-few",
    level: "MUST",
    what: "fewer bytes than the digest says are refused with INVALID_ARGUMENT",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      await expectFailure(target.upload(target.uploadName(blob), blob.bytes.subarray(1)), "INVALID_ARGUMENT");
      await expectAbsent(target, blob);
    },
  },
  {
    id: "write.too-many",
    level: "MUST",
    what: "more bytes than the digest says are refused with INVALID_ARGUMENT",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const longer = Buffer.concat([blob.bytes, blob.bytes]);
      await expectFailure(target.upload(target.uploadName(blob), longer), "INVALID_ARGUMENT");
      await expectAbsent(target, blob);
    },
  },
  {
    id: "write.first-offset",
    level: "MUST",
    what: "a first write_offset past what has arrived is refused",
    source: "WriteRequest.write_offset",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const message = { write_offset: 500, finish_write: true, data: blob.bytes.subarray(500) };
      await expectFailure(target.write([{ resource_name: target.uploadName(blob), ...message }]));
    },
  },
  {
    id: "write.later-offset",
    level: "MUST",
    what: "a later write_offset that leaves a gap is refused",
    source: "WriteRequest.write_offset",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const messages = [
        { resource_name: target.uploadName(blob), write_offset: 0, data: blob.bytes.subarray(0, 500) },
        { write_offset: 501, finish_write: true, data: blob.bytes.subarray(500) },
      ];
      await expectFailure(target.write(messages));
      await expectAbsent(target, blob);
    },
  },
  {
    id: "write.unfinished",
    level: "MUST",
    what: "without finish_write nothing is stored, not even if all bytes are there",
    source: "ByteStream.Write",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const message = { resource_name: target.uploadName(blob), write_offset: 0, data: blob.bytes };
      await outcome(target.write([message]));
      await expectAbsent(target, blob);
    },
  },
  {
    id: "write.over-limit",
    level: "SHOULD",
    what: "a blob over the announced limit is refused with INVALID_ARGUMENT before it is sent",
    source: "CacheCapabilities.max_cas_blob_size_bytes",
    offered: ({ cache }) => cache.max_cas_blob_size_bytes > 0,
    check: async (target) => {
      const { hash } = target.freshBlob(1);
      const name = target
        .uploadName(target.emptyBlob)
        .replace(`${target.fn.emptyHash}/0`, `${hash}/${target.cache.max_cas_blob_size_bytes + 1}`);
      const message = { resource_name: name, write_offset: 0, data: Buffer.alloc(1) };
      await expectFailure(target.write([message], { keepOpen: true }), "INVALID_ARGUMENT");
    },
  },
  {
    id: "write.resume",
    level: "MUST",
    what: "an upload that broke off can go on at the committed_size that QueryWriteStatus tells",
    source: "ByteStream.Write",
    check: async (target) => {
      const blob = target.freshBlob(400_000);
      const name = await breakOff(target, blob);
      const offset = await committedSize(target, name);
      const rest = { write_offset: offset, finish_write: true, data: blob.bytes.subarray(offset) };
      expectEqual("committed_size", blob.bytes.length, await target.write([{ resource_name: name, ...rest }]));
      await expectStored(target, blob);
    },
  },
  {
    id: "write.resume-keeps",
    level: "SHOULD",
    what: "what had arrived before an upload broke off is kept",
    source: "ByteStream.QueryWriteStatus",
    check: async (target) => {
      const blob = target.freshBlob(400_000);
      const name = await breakOff(target, blob);
      expectEqual("committed_size", blob.bytes.length / 2, await committedSize(target, name));
    },
  },
  {
    id: "write.restart",
    level: "MUST",
    what: "an upload that broke off can start again from 0",
    source: "ByteStream.Write",
    check: async (target) => {
      const blob = target.freshBlob(400_000);
      const name = await breakOff(target, blob);
      expectEqual("committed_size", blob.bytes.length, await target.upload(name, blob.bytes));
      await expectStored(target, blob);
    },
  },
  {
    id: "query.complete",
    level: "MUST",
    what: "after an upload: its full size, and complete",
    source: "QueryWriteStatusResponse",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const name = target.uploadName(blob);
      await target.upload(name, blob.bytes);
      const { committed_size, complete } = await target.queryWriteStatus(name);
      expectEqual("committed_size", 1000, committed_size);
      expectEqual("complete", true, complete);
    },
  },
  {
    id: "query.unknown",
    level: "MUST",
    what: "an upload that nobody has begun: NOT_FOUND, or 0 bytes and not complete",
    source: "ByteStream.QueryWriteStatus",
    check: async (target) => {
      const query = target.queryWriteStatus(target.uploadName(target.freshBlob(1000)));
      if ((await outcome(query)).name === "NOT_FOUND") return;
      const { committed_size, complete } = await query;
      expectEqual("committed_size", 0, committed_size);
      expectEqual("complete", false, complete);
    },
  },
  {
    id: "query.unfinished",
    level: "MUST",
    what: "an upload that broke off is not complete",
    source: "QueryWriteStatusResponse.complete",
    check: async (target) => {
      const query = target.queryWriteStatus(await breakOff(target, target.freshBlob(1000)));
      if ((await outcome(query)).name === "NOT_FOUND") return;
      expectEqual("complete", false, (await query).complete);
    },
  },
];
