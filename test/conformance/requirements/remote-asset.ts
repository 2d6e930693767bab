import { randomUUID } from "node:crypto";
import { expectEqual, expectFailure, expectStatus, expectThat, outcome } from "../expectations.ts";
import type { Responses } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target } from "../target.ts";
import { directoryBlob } from "./get-tree.ts";

const PUSH = "Push.PushBlob";
const FETCH = "Fetch.FetchBlob";

/** A URN: it names pushed content and can be fetched from nowhere. */
function freshUri(): string {
  return `urn:uuid:${randomUUID()}`;
}

function offered({ offersFetch, offersPush }: Target): boolean {
  return offersFetch && offersPush;
}

/** A moment, as `google.protobuf.Timestamp`. */
function secondsFromNow(seconds: number): object {
  return { seconds: Math.floor(Date.now() / 1000) + seconds };
}

type Fetched = Responses["FetchBlob"] | Responses["FetchDirectory"];

/** An asset that is not there: in the answer's status as the API has it, or as the outcome of the call. */
async function expectNotFound(call: Promise<Fetched>): Promise<void> {
  const { name } = await outcome(call);
  if (name === "NOT_FOUND") return;
  expectStatus("status", (await call).status, "NOT_FOUND");
}

async function expectBlob(call: Promise<Responses["FetchBlob"]>, hash: string): Promise<void> {
  const answer = await call;
  expectStatus("status", answer.status, "OK");
  expectEqual("blob_digest.hash", hash, answer.blob_digest?.hash);
}

export const remoteAssetRequirements: readonly Requirement[] = [
  {
    id: "asset.push-fetch",
    level: "MUST",
    what: "a pushed blob is found by its URI",
    source: PUSH,
    offered,
    check: async (target) => {
      const blob = await target.storeNew(1000);
      const uris = [freshUri()];
      await target.call("PushBlob", { uris, blob_digest: digestOf(blob) });
      await expectBlob(target.call("FetchBlob", { uris }), blob.hash);
    },
  },
  {
    id: "asset.any-uri",
    level: "MUST",
    what: "each of several URIs finds it, also beside unknown ones, and the answer names the one that did",
    source: "PushBlobRequest.uris",
    offered,
    check: async (target) => {
      const blob = await target.storeNew(1000);
      const uris = [freshUri(), freshUri()];
      await target.call("PushBlob", { uris, blob_digest: digestOf(blob) });
      for (const uri of uris) {
        const call = target.call("FetchBlob", { uris: [freshUri(), uri] });
        await expectBlob(call, blob.hash);
        expectEqual("uri", uri, (await call).uri);
      }
    },
  },
  {
    id: "asset.unknown",
    level: "MUST",
    what: "a URN that nobody has pushed is NOT_FOUND",
    source: "FetchBlobResponse.status",
    offered: ({ offersFetch }) => offersFetch,
    check: async (target) => {
      await expectNotFound(target.call("FetchBlob", { uris: [freshUri()] }));
    },
  },
  {
    id: "asset.replaced",
    level: "SHOULD",
    what: "a later push takes the place of an earlier one",
    source: PUSH,
    offered,
    check: async (target) => {
      const uris = [freshUri()];
      await target.call("PushBlob", { uris, blob_digest: digestOf(await target.storeNew(1000)) });
      const later = await target.storeNew(1000);
      await target.call("PushBlob", { uris, blob_digest: digestOf(later) });
      await expectBlob(target.call("FetchBlob", { uris }), later.hash);
    },
  },
  {
    id: "asset.qualifiers",
    level: "MUST",
    what: "qualifiers have to match, in any order",
    source: "Qualifier",
    offered,
    check: async (target) => {
      const blob = await target.storeNew(1000);
      const uris = [freshUri()];
      const qualifiers = [
        { name: "branch", value: "main" },
        { name: "variant", value: "1" },
      ];
      await target.call("PushBlob", { uris, qualifiers, blob_digest: digestOf(blob) });
      await expectBlob(target.call("FetchBlob", { uris, qualifiers: qualifiers.toReversed() }), blob.hash);
      const others = [{ name: "branch", value: "other" }, ...qualifiers.slice(1)];
      const call = target.call("FetchBlob", { uris, qualifiers: others });
      // A server may not know these qualifiers, but must not answer with this blob.
      const { name } = await outcome(call);
      if (name === "OK") await expectNotFound(call);
      else expectThat(["NOT_FOUND", "INVALID_ARGUMENT"].includes(name), "NOT_FOUND or INVALID_ARGUMENT", name);
    },
  },
  {
    id: "asset.oldest-accepted",
    level: "MUST",
    what: "content that is older than the client accepts is not found",
    source: "FetchBlobRequest.oldest_content_accepted",
    offered,
    check: async (target) => {
      const blob = await target.storeNew(1000);
      const uris = [freshUri()];
      await target.call("PushBlob", { uris, blob_digest: digestOf(blob) });
      await expectNotFound(target.call("FetchBlob", { uris, oldest_content_accepted: secondsFromNow(3600) }));
      await expectBlob(target.call("FetchBlob", { uris, oldest_content_accepted: secondsFromNow(-3600) }), blob.hash);
    },
  },
  {
    id: "asset.expired",
    level: "SHOULD",
    what: "content is not found after its expire_at",
    source: "PushBlobRequest.expire_at",
    offered,
    check: async (target) => {
      const uris = [freshUri()];
      const blob_digest = digestOf(await target.storeNew(1000));
      await target.call("PushBlob", { uris, blob_digest, expire_at: secondsFromNow(3600) });
      await target.call("PushBlob", { uris, blob_digest, expire_at: secondsFromNow(-5) });
      await expectNotFound(target.call("FetchBlob", { uris }));
    },
  },
  {
    id: "asset.absent-blob",
    level: "SHOULD",
    what: "an asset whose blob is not in the CAS is not answered with",
    source: FETCH,
    offered,
    check: async (target) => {
      const uris = [freshUri()];
      // Whether the push is refused is the server's choice.
      await outcome(target.call("PushBlob", { uris, blob_digest: digestOf(target.freshBlob(1000)) }));
      await expectNotFound(target.call("FetchBlob", { uris }));
    },
  },
  {
    id: "asset.no-uri",
    level: "SHOULD",
    what: "requests without a URI are INVALID_ARGUMENT",
    source: "FetchBlobRequest.uris",
    offered,
    check: async (target) => {
      const blob_digest = digestOf(await target.storeNew(1000));
      await expectFailure(target.call("FetchBlob", { uris: [] }), "INVALID_ARGUMENT");
      await expectFailure(target.call("PushBlob", { uris: [], blob_digest }), "INVALID_ARGUMENT");
    },
  },
  {
    id: "asset.repeated-qualifier",
    level: "SHOULD",
    what: "a qualifier that is named twice is INVALID_ARGUMENT",
    source: "FetchBlobRequest.qualifiers",
    offered: ({ offersFetch }) => offersFetch,
    check: async (target) => {
      const qualifiers = ["a", "b"].map((value) => ({ name: "branch", value }));
      await expectFailure(target.call("FetchBlob", { uris: [freshUri()], qualifiers }), "INVALID_ARGUMENT");
    },
  },
  {
    id: "asset.directory",
    level: "MUST",
    what: "a pushed directory is found by its URI, and not as a blob",
    source: "Push.PushDirectory",
    offered,
    check: async (target) => {
      const child = directoryBlob(target, await target.storeNew(10));
      const root = directoryBlob(target, await target.storeNew(10), { child });
      await target.store(child, root);
      const uris = [freshUri()];
      await target.call("PushDirectory", { uris, root_directory_digest: digestOf(root) });
      const answer = await target.call("FetchDirectory", { uris });
      expectStatus("status", answer.status, "OK");
      expectEqual("root_directory_digest.hash", root.hash, answer.root_directory_digest?.hash);
      await expectNotFound(target.call("FetchBlob", { uris }));
    },
  },
  {
    id: "asset.incomplete-directory",
    level: "SHOULD",
    what: "a directory of which a file is not in the CAS is not answered with",
    source: "Fetch.FetchDirectory",
    offered,
    check: async (target) => {
      const child = directoryBlob(target, target.freshBlob(10));
      const root = directoryBlob(target, await target.storeNew(10), { child });
      await target.store(child, root);
      const uris = [freshUri()];
      await outcome(target.call("PushDirectory", { uris, root_directory_digest: digestOf(root) }));
      await expectNotFound(target.call("FetchDirectory", { uris }));
    },
  },
];
