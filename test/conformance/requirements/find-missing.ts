import { expectEqual, expectThat } from "../expectations.ts";
import type { Requirement } from "../requirement.ts";

const SOURCE = "ContentAddressableStorage.FindMissingBlobs";

export const findMissingRequirements: readonly Requirement[] = [
  {
    id: "find-missing.subset",
    level: "MUST",
    what: "exactly the blobs that are not there are listed",
    source: SOURCE,
    check: async (target) => {
      const absent = target.freshBlob(1000);
      const missing = await target.missing(await target.storeNew(1000), absent, await target.storeNew(1000));
      expectThat(missing.join() === absent.hash, "the one absent blob", `${missing.length} blobs`);
    },
  },
  {
    id: "find-missing.size",
    level: "SHOULD",
    what: "the hash of a blob that is there with another size is missing",
    source: "Digest",
    check: async (target) => {
      const { hash } = await target.storeNew(1000);
      const blob_digests = [{ hash, size_bytes: 999 }];
      const { missing_blob_digests } = await target.call("FindMissingBlobs", { blob_digests });
      expectEqual("missing", 1, missing_blob_digests.length);
    },
  },
  {
    id: "find-missing.empty-blob",
    level: "MUST",
    what: "the empty blob is never missing",
    source: "ContentAddressableStorage",
    check: async (target) => {
      expectEqual("missing", 0, (await target.missing(target.emptyBlob)).length);
    },
  },
  {
    id: "find-missing.nothing",
    level: "MUST",
    what: "a question for no blob is answered with none",
    source: SOURCE,
    check: async (target) => {
      expectEqual("missing", 0, (await target.missing()).length);
    },
  },
  {
    id: "find-missing.many",
    level: "MUST",
    what: "10,000 digests in one call are answered",
    source: SOURCE,
    check: async (target) => {
      const blobs = Array.from({ length: 10_000 }, () => target.freshBlob(8));
      expectEqual("missing", 10_000, new Set(await target.missing(...blobs)).size);
    },
  },
  {
    id: "find-missing.uploaded",
    level: "MUST",
    what: "a blob is no longer missing once its upload is answered",
    source: SOURCE,
    check: async (target) => {
      const blob = target.freshBlob(5000);
      expectEqual("missing before", 1, (await target.missing(blob)).length);
      await target.upload(target.uploadName(blob), blob.bytes);
      expectEqual("missing after", 0, (await target.missing(blob)).length);
    },
  },
];
