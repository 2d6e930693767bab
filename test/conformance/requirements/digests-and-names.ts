import { expectEqual, expectFailure, expectStatus } from "../expectations.ts";
import type { DigestMessage } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target, writeRequests } from "../target.ts";

/** A row for a digest that no server should take: refused as a whole or for this blob, with INVALID_ARGUMENT. */
function refusedDigest(id: string, what: string, spoil: (target: Target, sound: DigestMessage) => DigestMessage) {
  return {
    id: `digests.${id}`,
    level: "SHOULD",
    what: `BatchUpdateBlobs refuses ${what} with INVALID_ARGUMENT`,
    source: "Digest",
    check: async (target) => {
      const blob = target.freshBlob(100);
      const digest = spoil(target, digestOf(blob));
      const call = target.call("BatchUpdateBlobs", { requests: [{ digest, data: blob.bytes }] });
      // The status is the blob's own, or that of the call.
      const answer = await call.catch(() => undefined);
      if (answer === undefined) return expectFailure(call, "INVALID_ARGUMENT");
      expectStatus("status", answer.responses[0]?.status, "INVALID_ARGUMENT");
    },
  } as const satisfies Requirement;
}

/** A row for a resource name that is none. */
function refusedName(id: string, what: string, nameOf: (target: Target) => string): Requirement {
  return {
    id: `names.${id}`,
    level: "SHOULD",
    what: `Read refuses ${what} with INVALID_ARGUMENT`,
    source: "ContentAddressableStorage",
    check: async (target) => {
      await expectFailure(target.read(nameOf(target)), "INVALID_ARGUMENT");
    },
  };
}

export const digestAndNameRequirements: readonly Requirement[] = [
  refusedDigest("upper-case", "a hash in upper case", (_target, digest) => ({
    ...digest,
    // At least one letter, whatever the content.
    hash: `A${digest.hash.slice(1).toUpperCase()}`,
  })),
  refusedDigest("short", "a hash that is too short", (_target, digest) => ({ ...digest, hash: digest.hash.slice(1) })),
  refusedDigest("no-hex", "a hash that is not hexadecimal", (_target, digest) => ({
    ...digest,
    hash: `g${digest.hash.slice(1)}`,
  })),
  refusedDigest("negative-size", "a negative size", (_target, digest) => ({ ...digest, size_bytes: -1 })),
  refusedDigest("empty-hash", "the hash of the empty blob with another size than 0", (target, digest) => ({
    ...digest,
    hash: target.fn.emptyHash,
  })),
  refusedDigest("empty-size", "size 0 with another hash than that of the empty blob", (_target, digest) => ({
    ...digest,
    size_bytes: 0,
  })),
  refusedName("no-blobs", "a name without blobs", () => "nothing/of/the/kind"),
  refusedName("no-size", "a name without a size", (target) => target.blobName(target.freshBlob(1)).replace(/\/1$/, "")),
  refusedName("bad-size", "a size that is no number", (target) => `${target.blobName(target.freshBlob(1))}x`),
  refusedName("bad-hash", "a hash that is not hexadecimal", (target) => {
    const blob = target.freshBlob(1);
    return target.blobName({ ...blob, hash: `g${blob.hash.slice(1)}` });
  }),
  refusedName("unknown-compressor", "an unknown compressor", (target) =>
    target.blobName(target.freshBlob(1), { compressor: "shrinking" }),
  ),
  {
    id: "names.header",
    level: "SHOULD",
    what: "Write refuses a header that names another resource than the message does",
    source: "header build.bazel.remote.execution.v2.resource-name",
    check: async (target) => {
      const blob = target.freshBlob(100);
      const headers = { "build.bazel.remote.execution.v2.resource-name": target.uploadName(blob) };
      const call = target.write(writeRequests(target.uploadName(blob), blob.bytes), { headers });
      await expectFailure(call, "INVALID_ARGUMENT");
    },
  },
  {
    id: "names.request-metadata",
    level: "SHOULD",
    what: "RequestMetadata that does not decode is no reason to refuse a call",
    source: "RequestMetadata",
    check: async (target) => {
      const blob = target.freshBlob(1000);
      const headers = { "build.bazel.remote.execution.v2.requestmetadata-bin": "\xff\xff\xff" };
      const messages = writeRequests(target.uploadName(blob), blob.bytes);
      expectEqual("committed_size", 1000, await target.write(messages, { headers }));
    },
  },
];
