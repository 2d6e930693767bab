import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { expectBytes, expectEqual, expectFailure, expectStatus, expectThat } from "../expectations.ts";
import { COMPRESSORS } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target } from "../target.ts";
import type { Blob } from "../digest-functions.ts";

const ZSTD = { compressor: "zstd" } as const;
const SOURCE = "ContentAddressableStorage";

function offersZstd({ cache }: Target): boolean {
  return cache.supported_compressors.includes(COMPRESSORS.zstd);
}

function offersZstdBatches({ cache }: Target): boolean {
  return cache.supported_batch_update_compressors.includes(COMPRESSORS.zstd);
}

/** Compresses to about half of its size. */
function freshText(target: Target, sizeBytes: number): Blob {
  return target.blobOf(Buffer.from(target.freshBlob(sizeBytes / 2).bytes.toString("hex")));
}

/** A row for an upload that has to be refused. */
function refusedUpload(id: string, what: string, spoil: (sound: Buffer, blob: Blob) => Uint8Array): Requirement {
  return {
    id: `zstd.${id}`,
    level: "MUST",
    what: `${what} is refused with INVALID_ARGUMENT and not stored`,
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 100_000);
      const bad = spoil(zstdCompressSync(blob.bytes), blob);
      await expectFailure(target.upload(target.uploadName(blob, ZSTD), bad), "INVALID_ARGUMENT");
      expectThat((await target.missing(blob)).length === 1, "the blob to be missing still", "it is present");
    },
  };
}

export const compressedBlobRequirements: readonly Requirement[] = [
  {
    id: "zstd.write",
    level: "MUST",
    what: "a compressed upload can be read uncompressed",
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 1_000_000);
      await target.upload(target.uploadName(blob, ZSTD), zstdCompressSync(blob.bytes), 1000);
      expectBytes("a Read", blob.bytes, await target.read(target.blobName(blob)));
    },
  },
  {
    id: "zstd.committed-size",
    level: "SHOULD",
    what: "it is answered with the compressed or the uncompressed size",
    source: "WriteResponse.committed_size",
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 100_000);
      const compressed = zstdCompressSync(blob.bytes);
      const committed = await target.upload(target.uploadName(blob, ZSTD), compressed);
      const sizes = [compressed.length, blob.bytes.length];
      expectThat(sizes.includes(committed), `committed_size ${sizes.join(" or ")}`, `${committed}`);
    },
  },
  {
    id: "zstd.frames",
    level: "SHOULD",
    what: "the data may be several frames one after another",
    source: "RFC 8878",
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 100_000);
      const frames = [blob.bytes.subarray(0, 40_000), blob.bytes.subarray(40_000)].map((part) =>
        zstdCompressSync(part),
      );
      await target.upload(target.uploadName(blob, ZSTD), Buffer.concat(frames));
      expectBytes("a Read", blob.bytes, await target.read(target.blobName(blob)));
    },
  },
  {
    id: "zstd.present",
    level: "MUST",
    what: "a compressed upload of a blob that is there is answered with -1",
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const blob = await target.storeNew(100_000);
      const committed = await target.upload(target.uploadName(blob, ZSTD), zstdCompressSync(blob.bytes));
      expectEqual("committed_size", -1, committed);
    },
  },
  refusedUpload("wrong-hash", "data of another hash", (_sound, blob) => zstdCompressSync(blob.bytes.toReversed())),
  refusedUpload("too-long", "data that expands past the size", (_sound, { bytes }) =>
    zstdCompressSync(Buffer.concat([bytes, bytes])),
  ),
  refusedUpload("bomb", "data that expands a thousandfold past the size", () =>
    zstdCompressSync(Buffer.alloc(100_000_000)),
  ),
  refusedUpload("truncated", "a frame that is cut off", (sound) => sound.subarray(0, -10)),
  refusedUpload("garbage", "data that is no zstd", (_sound, { bytes }) => bytes),
  {
    ...refusedUpload("trailing", "garbage after the frame", (sound) => Buffer.concat([sound, Buffer.from("?")])),
    level: "SHOULD",
  },
  {
    id: "zstd.read",
    level: "MUST",
    what: "a blob that was uploaded uncompressed can be read compressed",
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 1_000_000);
      await target.store(blob);
      const compressed = await target.read(target.blobName(blob, ZSTD));
      expectBytes("what it expands to", blob.bytes, zstdDecompressSync(compressed));
    },
  },
  {
    id: "zstd.read-back",
    level: "MUST",
    what: "a blob that was uploaded compressed can be read compressed",
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 1_000_000);
      await target.upload(target.uploadName(blob, ZSTD), zstdCompressSync(blob.bytes));
      const compressed = await target.read(target.blobName(blob, ZSTD));
      expectBytes("what it expands to", blob.bytes, zstdDecompressSync(compressed));
    },
  },
  {
    id: "zstd.uncompressed-offset",
    level: "MUST",
    what: "a range of a blob that was uploaded compressed is read uncompressed",
    source: "ByteStream.Read",
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 1_000_000);
      await target.upload(target.uploadName(blob, ZSTD), zstdCompressSync(blob.bytes));
      const part = await target.read(target.blobName(blob), { offset: 123_456, limit: 700_000 });
      expectBytes("the range", blob.bytes.subarray(123_456, 823_456), part);
    },
  },
  {
    id: "zstd.read-offset",
    level: "MUST",
    what: "read_offset counts uncompressed bytes",
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const blob = freshText(target, 1_000_000);
      await target.upload(target.uploadName(blob, ZSTD), zstdCompressSync(blob.bytes));
      const compressed = await target.read(target.blobName(blob, ZSTD), { offset: 654_321 });
      expectBytes("what it expands to", blob.bytes.subarray(654_321), zstdDecompressSync(compressed));
    },
  },
  {
    id: "zstd.read-limit",
    level: "MUST",
    what: "a read_limit other than 0 is INVALID_ARGUMENT",
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const blob = await target.storeNew(1000);
      await expectFailure(target.read(target.blobName(blob, ZSTD), { limit: 10 }), "INVALID_ARGUMENT");
    },
  },
  {
    id: "zstd.read-missing",
    level: "MUST",
    what: "a blob that is not there is NOT_FOUND",
    source: "ByteStream.Read",
    offered: offersZstd,
    check: async (target) => {
      await expectFailure(target.read(target.blobName(target.freshBlob(1000), ZSTD)), "NOT_FOUND");
    },
  },
  {
    id: "zstd.read-empty",
    level: "MUST",
    what: "the empty blob can be read compressed",
    source: SOURCE,
    offered: offersZstd,
    check: async (target) => {
      const compressed = await target.read(target.blobName(target.emptyBlob, ZSTD));
      // No byte at all is the empty sequence of frames.
      const bytes = compressed.length === 0 ? compressed : zstdDecompressSync(compressed);
      expectEqual("bytes", 0, bytes.length);
    },
  },
  {
    id: "zstd.batch-update",
    level: "MUST",
    what: "a blob of a batch may be compressed",
    source: "BatchUpdateBlobsRequest.Request.compressor",
    offered: offersZstdBatches,
    check: async (target) => {
      const blob = freshText(target, 100_000);
      const request = { digest: digestOf(blob), data: zstdCompressSync(blob.bytes), compressor: COMPRESSORS.zstd };
      const { responses } = await target.call("BatchUpdateBlobs", { requests: [request] });
      expectStatus("status", responses[0]?.status, "OK");
      expectBytes("a Read", blob.bytes, await target.read(target.blobName(blob)));
    },
  },
  {
    id: "zstd.batch-read",
    level: "MUST",
    what: "a blob of a batch is compressed only where the client accepts that",
    source: "BatchReadBlobsRequest.acceptable_compressors",
    offered: offersZstdBatches,
    check: async (target) => {
      const blob = freshText(target, 100_000);
      const request = { digest: digestOf(blob), data: zstdCompressSync(blob.bytes), compressor: COMPRESSORS.zstd };
      await target.call("BatchUpdateBlobs", { requests: [request] });
      for (const acceptable_compressors of [[], [COMPRESSORS.zstd]]) {
        const { responses } = await target.call("BatchReadBlobs", {
          digests: [digestOf(blob)],
          acceptable_compressors,
        });
        const { compressor, data } = responses[0] ?? { compressor: -1, data: Buffer.alloc(0) };
        const allowed: number[] = [COMPRESSORS.identity, ...acceptable_compressors];
        expectThat(allowed.includes(compressor), `a compressor of ${allowed.join(", ")}`, `${compressor}`);
        expectBytes("the blob", blob.bytes, compressor === COMPRESSORS.zstd ? zstdDecompressSync(data) : data);
      }
    },
  },
  {
    id: "zstd.batch-mismatch",
    level: "MUST",
    what: "a compressed blob of another hash gets INVALID_ARGUMENT",
    source: "ContentAddressableStorage.BatchUpdateBlobs",
    offered: offersZstdBatches,
    check: async (target) => {
      const data = zstdCompressSync(target.freshBlob(1000).bytes);
      const request = { digest: digestOf(target.freshBlob(1000)), data, compressor: COMPRESSORS.zstd };
      const { responses } = await target.call("BatchUpdateBlobs", { requests: [request] });
      expectStatus("status", responses[0]?.status, "INVALID_ARGUMENT");
    },
  },
];
