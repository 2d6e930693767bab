import { inflateRawSync, zstdDecompressSync, brotliDecompressSync } from "node:zlib";
import { expectBytes, expectEqual, expectFailure, expectStatus, expectThat } from "../expectations.ts";
import { COMPRESSORS, type Responses } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target } from "../target.ts";
import type { Blob } from "../digest-functions.ts";

/** Beyond it a row would cost more memory than it is worth. */
const LIMIT_CHECKED_BYTES_MAX = 64 * 1024 * 1024;

function hasModestLimit({ cache: { max_batch_total_size_bytes: bytes } }: Target): boolean {
  return bytes > 0 && bytes <= LIMIT_CHECKED_BYTES_MAX;
}

function update(target: Target, blobs: readonly Blob[]): Promise<Responses["BatchUpdateBlobs"]> {
  return target.call("BatchUpdateBlobs", {
    requests: blobs.map((blob) => ({ digest: digestOf(blob), data: blob.bytes })),
  });
}

function read(target: Target, blobs: readonly Blob[], extra: object = {}): Promise<Responses["BatchReadBlobs"]> {
  return target.call("BatchReadBlobs", { digests: blobs.map(digestOf), ...extra });
}

/** The answer for one blob, wherever it stands: the order is the server's. */
function answerFor<Answer extends { readonly digest: { readonly hash: string } | null }>(
  responses: readonly Answer[],
  { hash }: Blob,
): Answer {
  const found = responses.find(({ digest }) => digest?.hash === hash);
  expectThat(found !== undefined, `an answer for ${hash.slice(0, 12)}`, `${responses.length} answers for others`);
  return found;
}

const EXPANDERS = {
  [COMPRESSORS.identity]: (data: Buffer) => data,
  [COMPRESSORS.zstd]: (data: Buffer) => zstdDecompressSync(data),
  [COMPRESSORS.deflate]: (data: Buffer) => inflateRawSync(data),
  [COMPRESSORS.brotli]: (data: Buffer) => brotliDecompressSync(data),
};

export const batchRequirements: readonly Requirement[] = [
  {
    id: "batch.round-trip",
    level: "MUST",
    what: "each blob of an update has its own status, and each can be read back",
    source: "ContentAddressableStorage.BatchUpdateBlobs",
    check: async (target) => {
      const blobs = [1, 100, 10_000, 100_000].map((size) => target.freshBlob(size));
      const updated = await update(target, blobs);
      expectEqual("answers", blobs.length, updated.responses.length);
      for (const blob of blobs) expectStatus("status", answerFor(updated.responses, blob).status, "OK");
      const answers = await read(target, blobs);
      for (const blob of blobs) {
        const { status, data } = answerFor(answers.responses, blob);
        expectStatus("status", status, "OK");
        expectBytes("data", blob.bytes, data);
      }
    },
  },
  {
    id: "batch.independent",
    level: "MUST",
    what: "a blob of another hash gets INVALID_ARGUMENT and the others are stored",
    source: "ContentAddressableStorage.BatchUpdateBlobs",
    check: async (target) => {
      const sound = target.freshBlob(1000);
      const bad = { ...target.freshBlob(1000), hash: target.freshBlob(1000).hash };
      const { responses } = await update(target, [bad, sound]);
      expectStatus("status of the bad one", answerFor(responses, bad).status, "INVALID_ARGUMENT");
      expectStatus("status of the sound one", answerFor(responses, sound).status, "OK");
      const missing = await target.missing(bad, sound);
      expectThat(missing.join() === bad.hash, "only the bad one to be missing", `${missing.length} missing`);
    },
  },
  {
    id: "batch.wrong-size",
    level: "MUST",
    what: "a blob of another size gets INVALID_ARGUMENT",
    source: "ContentAddressableStorage.BatchUpdateBlobs",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const requests = [{ digest: { hash: blob.hash, size_bytes: 999 }, data: blob.bytes }];
      const { responses } = await target.call("BatchUpdateBlobs", { requests });
      expectStatus("status", responses[0]?.status, "INVALID_ARGUMENT");
    },
  },
  {
    id: "batch.read-missing",
    level: "MUST",
    what: "a blob that is not there gets NOT_FOUND and the others are sent",
    source: "ContentAddressableStorage.BatchReadBlobs",
    check: async (target) => {
      const absent = target.freshBlob(1000);
      const present = await target.storeNew(1000);
      const { responses } = await read(target, [absent, present]);
      expectStatus("status of the absent one", answerFor(responses, absent).status, "NOT_FOUND");
      expectBytes("data", present.bytes, answerFor(responses, present).data);
    },
  },
  {
    id: "batch.empty-blob",
    level: "MUST",
    what: "the empty blob can be read though nobody has uploaded it",
    source: "ContentAddressableStorage",
    check: async (target) => {
      const { responses } = await read(target, [target.emptyBlob]);
      expectStatus("status", answerFor(responses, target.emptyBlob).status, "OK");
      expectEqual("bytes", 0, answerFor(responses, target.emptyBlob).data.length);
    },
  },
  {
    id: "batch.nothing",
    level: "SHOULD",
    what: "batches of nothing succeed",
    source: "ContentAddressableStorage.BatchUpdateBlobs",
    check: async (target) => {
      expectEqual("answers", 0, (await update(target, [])).responses.length);
      expectEqual("answers", 0, (await read(target, [])).responses.length);
    },
  },
  {
    id: "batch.at-limit",
    level: "MUST",
    what: "a batch of exactly the announced size is taken and sent",
    source: "CacheCapabilities.max_batch_total_size_bytes",
    offered: hasModestLimit,
    check: async (target) => {
      const blob = target.freshBlob(target.cache.max_batch_total_size_bytes);
      expectStatus("status", answerFor((await update(target, [blob])).responses, blob).status, "OK");
      expectBytes("data", blob.bytes, answerFor((await read(target, [blob])).responses, blob).data);
    },
  },
  {
    id: "batch.update-over-limit",
    level: "SHOULD",
    what: "an update of more than the announced size is INVALID_ARGUMENT",
    source: "ContentAddressableStorage.BatchUpdateBlobs",
    offered: hasModestLimit,
    check: async (target) => {
      const half = Math.ceil(target.cache.max_batch_total_size_bytes / 2) + 1;
      await expectFailure(update(target, [target.freshBlob(half), target.freshBlob(half)]), "INVALID_ARGUMENT");
    },
  },
  {
    id: "batch.read-over-limit",
    level: "SHOULD",
    what: "a read of more than the announced size is INVALID_ARGUMENT",
    source: "ContentAddressableStorage.BatchReadBlobs",
    offered: hasModestLimit,
    check: async (target) => {
      const half = Math.ceil(target.cache.max_batch_total_size_bytes / 2) + 1;
      const blobs = [target.freshBlob(half), target.freshBlob(half)];
      await target.store(...blobs.slice(0, 1));
      await target.store(...blobs.slice(1));
      await expectFailure(read(target, blobs), "INVALID_ARGUMENT");
    },
  },
  {
    id: "batch.acceptable",
    level: "MUST",
    what: "data is sent uncompressed, or by a compressor that the client accepts, and is then that blob",
    source: "BatchReadBlobsResponse.Response.compressor",
    check: async (target) => {
      const text = target.blobOf(Buffer.from(target.freshBlob(50_000).bytes.toString("hex")));
      await target.store(text);
      const accepted: readonly (readonly number[])[] = [[], [COMPRESSORS.zstd], Object.values(COMPRESSORS)];
      for (const acceptable_compressors of accepted) {
        const { compressor, data } = answerFor(
          (await read(target, [text], { acceptable_compressors })).responses,
          text,
        );
        const isAccepted = compressor === COMPRESSORS.identity || acceptable_compressors.includes(compressor);
        expectThat(isAccepted, `compressor 0 or one of [${acceptable_compressors.join()}]`, `${compressor}`);
        expectBytes("data", text.bytes, EXPANDERS[compressor as keyof typeof EXPANDERS](data));
      }
    },
  },
  {
    id: "batch.unannounced-compressor",
    level: "SHOULD",
    what: "an update by a compressor that is not announced is INVALID_ARGUMENT",
    source: "BatchUpdateBlobsRequest.Request.compressor",
    offered: ({ cache }) => !cache.supported_batch_update_compressors.includes(COMPRESSORS.brotli),
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const request = { digest: digestOf(blob), data: blob.bytes, compressor: COMPRESSORS.brotli };
      const call = target.call("BatchUpdateBlobs", { requests: [request] });
      const answer = await call.catch(() => undefined);
      if (answer === undefined) return expectFailure(call, "INVALID_ARGUMENT");
      expectStatus("status", answer.responses[0]?.status, "INVALID_ARGUMENT");
    },
  },
];
