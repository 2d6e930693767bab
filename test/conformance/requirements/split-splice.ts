import type { Blob } from "../digest-functions.ts";
import { expectBytes, expectEqual, expectFailure, expectThat } from "../expectations.ts";
import { CHUNKING_FUNCTIONS, type DigestMessage } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target } from "../target.ts";

const SPLIT = "ContentAddressableStorage.SplitBlob";
const SPLICE = "ContentAddressableStorage.SpliceBlob";
const DEFAULT_AVERAGE_BYTES = 512 * 1024;

function splits({ cache }: Target): boolean {
  return cache.split_blob_support;
}

function splices({ cache }: Target): boolean {
  return cache.splice_blob_support;
}

/** Large enough for several chunks. */
async function storeLarge(target: Target): Promise<Blob> {
  const average = target.cache.fast_cdc_2020_params?.avg_chunk_size_bytes ?? DEFAULT_AVERAGE_BYTES;
  const blob = target.freshBlob(average * 9 + 1);
  await target.upload(target.uploadName(blob), blob.bytes);
  return blob;
}

function named({ hash, size_bytes }: DigestMessage): Blob {
  return { bytes: Buffer.alloc(size_bytes), hash };
}

async function expectChunksOf(target: Target, blob: Blob, chunks: readonly DigestMessage[]): Promise<void> {
  const parts: Buffer[] = [];
  for (const chunk of chunks) parts.push(await target.read(target.blobName(named(chunk))));
  expectBytes("the chunks put together", blob.bytes, Buffer.concat(parts));
}

/** Chunks in the CAS and the blob that they are, which is not there. */
async function storeChunks(target: Target): Promise<{ chunks: Blob[]; blob: Blob }> {
  const chunks = [1000, 70_000, 1, 30_000].map((size) => target.freshBlob(size));
  await target.store(...chunks);
  return { chunks, blob: target.blobOf(Buffer.concat(chunks.map(({ bytes }) => bytes))) };
}

function splice(target: Target, blob: Blob, chunks: readonly Blob[], extra: object = {}) {
  const request = { blob_digest: digestOf(blob), chunk_digests: chunks.map(digestOf), ...extra };
  return target.call("SpliceBlob", request);
}

export const splitSpliceRequirements: readonly Requirement[] = [
  {
    id: "split.whole",
    level: "MUST",
    what: "the chunks are in the CAS and, put together, the blob",
    source: SPLIT,
    offered: splits,
    check: async (target) => {
      const blob = await storeLarge(target);
      const { chunk_digests: chunks } = await target.call("SplitBlob", { blob_digest: digestOf(blob) });
      expectThat(chunks.length > 0, "chunks", "none");
      await expectChunksOf(target, blob, chunks);
    },
  },
  {
    id: "split.missing",
    level: "MUST",
    what: "a blob that is not there is NOT_FOUND",
    source: SPLIT,
    offered: splits,
    check: async (target) => {
      const call = target.call("SplitBlob", { blob_digest: digestOf(target.freshBlob(1000)) });
      await expectFailure(call, "NOT_FOUND");
    },
  },
  {
    id: "split.fastcdc-sizes",
    level: "MUST",
    what: "chunks of FAST_CDC_2020 are a quarter to four times the average long, the last one aside",
    source: "FastCdc2020Params",
    offered: (target) => splits(target) && target.cache.fast_cdc_2020_params !== null,
    check: async (target) => {
      const blob = await storeLarge(target);
      const average = target.cache.fast_cdc_2020_params?.avg_chunk_size_bytes ?? 0;
      const chunking_function = CHUNKING_FUNCTIONS.fastCdc2020;
      const answer = await target.call("SplitBlob", { blob_digest: digestOf(blob), chunking_function });
      expectEqual("chunking_function", chunking_function, answer.chunking_function);
      for (const { size_bytes } of answer.chunk_digests.slice(0, -1)) {
        const isWithin = size_bytes >= average / 4 && size_bytes <= average * 4;
        expectThat(isWithin, `${average / 4} to ${average * 4} bytes`, `${size_bytes}`);
      }
    },
  },
  {
    id: "split.shared-chunks",
    level: "SHOULD",
    what: "two blobs that differ in one place share most chunks",
    source: "ChunkingFunction.Value",
    offered: (target) => splits(target) && target.cache.fast_cdc_2020_params !== null,
    check: async (target) => {
      const first = await storeLarge(target);
      const second = target.blobOf(Buffer.concat([Buffer.from("something new at the start"), first.bytes]));
      await target.upload(target.uploadName(second), second.bytes);
      const chunking_function = CHUNKING_FUNCTIONS.fastCdc2020;
      const [of1, of2] = await Promise.all(
        [first, second].map((blob) => target.call("SplitBlob", { blob_digest: digestOf(blob), chunking_function })),
      );
      const known = new Set(of1?.chunk_digests.map(({ hash }) => hash));
      const shared = of2?.chunk_digests.filter(({ hash }) => known.has(hash)).length ?? 0;
      const wanted = Math.floor(known.size / 2);
      expectThat(shared >= wanted, `at least ${wanted} chunks in common of ${known.size}`, `${shared}`);
    },
  },
  {
    id: "splice.whole",
    level: "MUST",
    what: "the blob is in the CAS afterwards and is the chunks put together",
    source: SPLICE,
    offered: splices,
    check: async (target) => {
      const { chunks, blob } = await storeChunks(target);
      const { blob_digest } = await splice(target, blob, chunks);
      expectEqual("blob_digest.hash", blob.hash, blob_digest?.hash);
      expectEqual("missing", 0, (await target.missing(blob)).length);
      expectBytes("a Read", blob.bytes, await target.read(target.blobName(blob)));
      expectBytes("a part", blob.bytes.subarray(900), await target.read(target.blobName(blob), { offset: 900 }));
    },
  },
  {
    id: "splice.missing-chunk",
    level: "MUST",
    what: "a chunk that is not there is NOT_FOUND",
    source: SPLICE,
    offered: splices,
    check: async (target) => {
      const { chunks } = await storeChunks(target);
      const all = [...chunks, target.freshBlob(1000)];
      const blob = target.blobOf(Buffer.concat(all.map(({ bytes }) => bytes)));
      await expectFailure(splice(target, blob, all), "NOT_FOUND");
    },
  },
  {
    id: "splice.mismatch",
    level: "MUST",
    what: "chunks that are another blob are INVALID_ARGUMENT, and nothing is stored",
    source: SPLICE,
    offered: splices,
    check: async (target) => {
      const { chunks, blob } = await storeChunks(target);
      await expectFailure(splice(target, blob, chunks.toReversed()), "INVALID_ARGUMENT");
      expectEqual("missing", 1, (await target.missing(blob)).length);
    },
  },
  {
    id: "splice.unknown-function",
    level: "MUST",
    what: "chunks made by no known function are taken",
    source: "SpliceBlobRequest.chunking_function",
    offered: splices,
    check: async (target) => {
      const { chunks, blob } = await storeChunks(target);
      await splice(target, blob, chunks, { chunking_function: CHUNKING_FUNCTIONS.unknown });
    },
  },
  {
    id: "splice.then-split",
    level: "SHOULD",
    what: "a blob that was spliced can be split",
    source: SPLIT,
    offered: (target) => splits(target) && splices(target),
    check: async (target) => {
      const { chunks, blob } = await storeChunks(target);
      await splice(target, blob, chunks);
      const answer = await target.call("SplitBlob", { blob_digest: digestOf(blob) });
      await expectChunksOf(target, blob, answer.chunk_digests);
    },
  },
];
