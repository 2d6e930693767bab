import { randomBytes } from "node:crypto";
import { type Blob, DIGEST_FUNCTIONS, type DigestFunction } from "../digest-functions.ts";
import { expectBytes, expectEqual, expectFailure, expectStatus, expectThat } from "../expectations.ts";
import { encodeMessage } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target } from "../target.ts";

/** No digest function of the API; a server cannot know it. */
const UNHEARD_OF = 999;

function blobsBy(fn: DigestFunction): readonly Blob[] {
  const { hashOf, vectors = [] } = fn;
  if (hashOf === undefined) return vectors;
  return [1, 2000, 100_000].map((size) => {
    const bytes = randomBytes(size);
    return { bytes, hash: hashOf(bytes) };
  });
}

/** An action that nobody has run; undefined where its hash cannot be computed here. */
function newAction({ hashOf }: DigestFunction): Blob | undefined {
  const bytes = encodeMessage("Action", { salt: randomBytes(16) });
  return hashOf && { bytes, hash: hashOf(bytes) };
}

async function storeBy(target: Target, fn: DigestFunction, blob: Blob) {
  const requests = [{ digest: digestOf(blob), data: blob.bytes }];
  const { responses } = await target.call("BatchUpdateBlobs", { digest_function: fn.number, requests });
  return responses[0]?.status;
}

async function missingBy(target: Target, digest_function: number, blob: Blob): Promise<number> {
  const request = { digest_function, blob_digests: [digestOf(blob)] };
  return (await target.call("FindMissingBlobs", request)).missing_blob_digests.length;
}

function requirementsFor(fn: DigestFunction): Requirement[] {
  const prefix = `digest.${fn.name.toLowerCase()}`;
  const source = "DigestFunction.Value";
  const isAnnounced = ({ cache }: Target): boolean => cache.digest_functions.includes(fn.number);
  return [
    {
      id: `${prefix}.batches`,
      level: "MUST",
      what: `blobs named by ${fn.name} go up and down in batches`,
      source,
      offered: isAnnounced,
      check: async (target) => {
        for (const blob of blobsBy(fn)) {
          expectStatus("status", await storeBy(target, fn, blob), "OK");
          expectEqual("missing", 0, await missingBy(target, fn.number, blob));
          const request = { digest_function: fn.number, digests: [digestOf(blob)] };
          const { responses } = await target.call("BatchReadBlobs", request);
          expectBytes("data", blob.bytes, responses[0]?.data ?? Buffer.alloc(0));
        }
      },
    },
    {
      id: `${prefix}.byte-stream`,
      level: "MUST",
      what: `and by ByteStream${fn.segment === undefined ? "" : `, with the segment ${fn.segment} in their names`}`,
      source: "ContentAddressableStorage",
      offered: isAnnounced,
      check: async (target) => {
        for (const blob of blobsBy(fn)) {
          const committed = await target.upload(target.uploadName(blob, { fn }), blob.bytes);
          expectEqual("committed_size", blob.bytes.length, committed);
          expectBytes("a Read", blob.bytes, await target.read(target.blobName(blob, { fn })));
        }
      },
    },
    {
      id: `${prefix}.mismatch`,
      level: "MUST",
      what: "data of another hash is INVALID_ARGUMENT",
      source: "ContentAddressableStorage.BatchUpdateBlobs",
      offered: isAnnounced,
      check: async (target) => {
        const wrong = { bytes: randomBytes(2000), hash: randomBytes(fn.hashHexDigits / 2).toString("hex") };
        expectStatus("status", await storeBy(target, fn, wrong), "INVALID_ARGUMENT");
      },
    },
    {
      id: `${prefix}.empty`,
      level: "MUST",
      what: "the empty blob is there",
      source: "ContentAddressableStorage",
      offered: isAnnounced,
      check: async (target) => {
        const empty = { bytes: Buffer.alloc(0), hash: fn.emptyHash };
        expectEqual("missing", 0, await missingBy(target, fn.number, empty));
        expectEqual("bytes", 0, (await target.read(target.blobName(empty, { fn }))).length);
      },
    },
    {
      id: `${prefix}.actions`,
      level: "MUST",
      what: "an action result is found by the function that it was stored by",
      source: "GetActionResultRequest.digest_function",
      offered: (target) =>
        isAnnounced(target) && (target.cache.action_cache_update_capabilities?.update_enabled ?? false),
      check: async (target) => {
        const [file] = blobsBy(fn);
        expectThat(file !== undefined, "a blob to store", "none");
        expectStatus("status", await storeBy(target, fn, file), "OK");
        const action = newAction(fn) ?? file;
        expectStatus("status", await storeBy(target, fn, action), "OK");
        const scope = { digest_function: fn.number, action_digest: digestOf(action) };
        const action_result = { output_files: [{ path: "out", digest: digestOf(file) }] };
        await target.call("UpdateActionResult", { ...scope, action_result });
        const found = await target.call("GetActionResult", scope);
        expectEqual("hash", file.hash, found.output_files[0]?.digest?.hash);
      },
    },
  ];
}

export const digestFunctionRequirements: readonly Requirement[] = [
  {
    id: "digest.inferred",
    level: "SHOULD",
    what: "without digest_function the length of the hash tells it",
    source: "FindMissingBlobsRequest.digest_function",
    // Others of the same length have to be named.
    offered: ({ fn }) => fn.name === "SHA256",
    check: async (target) => {
      expectEqual("missing", 0, await missingBy(target, 0, await target.storeNew(1000)));
    },
  },
  {
    id: "digest.unannounced",
    level: "SHOULD",
    what: "a function that is not announced is INVALID_ARGUMENT",
    source: "FindMissingBlobsRequest.digest_function",
    check: async (target) => {
      await expectFailure(missingBy(target, UNHEARD_OF, target.freshBlob(1000)), "INVALID_ARGUMENT");
    },
  },
  ...DIGEST_FUNCTIONS.flatMap(requirementsFor),
];
