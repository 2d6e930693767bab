import { describe, expect, test } from "vitest";
import type { Digest } from "../../src/cache/digest.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { casKey } from "../../src/cache/entry-key.ts";
import { type DirectoryTreeOptions, streamDirectoryTree } from "../../src/grpc/directory-tree.ts";
import type { Directory, GetTreeRequest, GetTreeResponse } from "../../src/grpc/messages.ts";
import { digestMessage } from "../../src/grpc/request-digest.ts";
import { formatPageToken, parsePageToken } from "../../src/grpc/tree-page-token.ts";
import { expectCode } from "../contract/entry-store-contract.ts";
import { directoryOf, putBlob, putDirectory } from "../support/action-results.ts";
import { digestOf } from "../support/cas-content.ts";
import { callContext, type CallContextOptions } from "../support/call-context.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

const file = digestOf(Buffer.from("a file, which GetTree does not look for"));

function fixture(options: DirectoryTreeOptions = {}, call: CallContextOptions = {}) {
  const entries = new MemoryEntryStore();
  const blobs = new EmptyBlobStore(new EntryBlobStore(entries));
  const getTree = async (root: Digest | null, fields: Partial<GetTreeRequest> = {}): Promise<GetTreeResponse[]> => {
    const request: GetTreeRequest = {
      instance_name: "",
      root_digest: root && digestMessage(root),
      page_size: 0,
      page_token: "",
      digest_function: 0,
      ...fields,
    };
    const responses: GetTreeResponse[] = [];
    for await (const response of streamDirectoryTree(blobs, request, callContext(call), options))
      responses.push(response);
    return responses;
  };
  return { entries, blobs, getTree, retire: (digest: Digest) => entries.retire(casKey(digest)) };
}

/** A leaf is told by the name of its file. */
const leaf = (name: string): Directory => directoryOf({ [name]: file });
const namesOf = (responses: GetTreeResponse[]) =>
  responses.flatMap(({ directories }) => directories.map(({ files }) => files[0]?.name ?? "(no file)"));

/** root -> left, right, shared; left -> shared, deep */
async function putTree(blobs: EmptyBlobStore) {
  const shared = await putDirectory(blobs, leaf("shared"));
  const deep = await putDirectory(blobs, leaf("deep"));
  const left = await putDirectory(blobs, directoryOf({ left: file }, { shared, deep }));
  const right = await putDirectory(blobs, leaf("right"));
  const root = await putDirectory(blobs, directoryOf({ root: file }, { left, right, shared }));
  return { root, left, right, shared, deep };
}

describe("GetTree", () => {
  test("gives every reachable directory once, root first, level by level", async () => {
    const { blobs, getTree } = fixture();
    const { root } = await putTree(blobs);
    const responses = await getTree(root);
    expect(namesOf(responses)).toEqual(["root", "left", "right", "shared", "deep"]);
    expect(responses.map(({ next_page_token }) => next_page_token)).toEqual([""]);
    expect(responses[0]?.directories[0]?.directories.map(({ name }) => name)).toEqual(["left", "right", "shared"]);
  });

  test.each([1, 2, 3, 4, 5, 100])("in pages of %i directories gives the same tree to its end", async (page_size) => {
    const { blobs, getTree } = fixture();
    const { root } = await putTree(blobs);
    const responses = await getTree(root, { page_size });
    expect(namesOf(responses)).toEqual(["root", "left", "right", "shared", "deep"]);
    expect(responses).toHaveLength(Math.ceil(5 / page_size));
    expect(responses.every(({ directories }) => directories.length <= page_size)).toBe(true);
    expect(responses.map(({ next_page_token }) => next_page_token === "")).toEqual(
      responses.map((_, index) => index === responses.length - 1),
    );
  });

  test("goes on from the token of any page", async () => {
    const { blobs, getTree } = fixture();
    const { root } = await putTree(blobs);
    const all = namesOf(await getTree(root));
    let seen = 0;
    for (const { directories, next_page_token } of await getTree(root, { page_size: 2 })) {
      seen += directories.length;
      if (next_page_token === "") continue;
      expect(namesOf(await getTree(root, { page_token: next_page_token }))).toEqual(all.slice(seen));
    }
    expect(seen).toBe(5);
  });

  test("ends a page at the size that a message may have", async () => {
    const { blobs, getTree } = fixture({ pageBytesMax: 1 });
    const { root } = await putTree(blobs);
    const responses = await getTree(root);
    expect(responses.map(({ directories }) => directories.length)).toEqual([1, 1, 1, 1, 1]);
  });

  test("leaves a missing child out, with what is below it", async () => {
    const { blobs, getTree, retire } = fixture();
    const { root, left } = await putTree(blobs);
    retire(left);
    expect(namesOf(await getTree(root))).toEqual(["root", "right", "shared"]);
  });

  test("answers not_found to a missing root", async () => {
    const { getTree } = fixture();
    await expectCode("not_found", () => getTree(digestOf(Buffer.from("missing"))));
  });

  test("of the empty blob is one directory without anything", async () => {
    const { getTree } = fixture();
    expect(namesOf(await getTree(digestOf(Buffer.alloc(0))))).toEqual(["(no file)"]);
  });

  test("walks a directory once however many ways lead to it", async () => {
    const { blobs, getTree } = fixture();
    let below = await putDirectory(blobs, leaf("bottom"));
    for (let level = 0; level < 30; level++) {
      below = await putDirectory(blobs, directoryOf({ [`${level}`]: file }, { a: below, b: below }));
    }
    expect(namesOf(await getTree(below))).toHaveLength(31);
  });

  test("refuses bad requests and blobs that are no directories", async () => {
    const { blobs, getTree } = fixture();
    const { root } = await putTree(blobs);
    const noDirectory = await putBlob(blobs, "\xff\xff no directory");
    const badChild = await putDirectory(blobs, {
      ...directoryOf({}),
      directories: [{ name: "child", digest: null }],
    });
    await expectCode("invalid_argument", () => getTree(null));
    await expectCode("invalid_argument", () => getTree(root, { page_size: -1 }));
    await expectCode("invalid_argument", () => getTree(root, { digest_function: 4 }));
    await expectCode("invalid_argument", () => getTree(root, { instance_name: "uploads" }));
    await expectCode("invalid_argument", () => getTree(noDirectory));
    await expectCode("invalid_argument", () => getTree(badChild));
  });

  test.each([{ treeDirectoriesMax: 4 }, { directoryBytesMax: 100 }])("fails past the bound %o", async (options) => {
    const { blobs, getTree } = fixture(options);
    const { root } = await putTree(blobs);
    await expectCode("failed_precondition", () => getTree(root));
  });
});

describe("page tokens", () => {
  const root = digestOf(Buffer.from("root"));

  test("survive being formatted and parsed", () => {
    for (const place of [1, 2, 999_999]) expect(parsePageToken(formatPageToken(root, place), root)).toBe(place);
    expect(parsePageToken("", root)).toBe(0);
  });

  test.each([
    "x",
    "!!!",
    formatPageToken(digestOf(Buffer.from("another")), 1),
    formatPageToken(root, 0),
    formatPageToken(root, -1),
    formatPageToken(root, 1.5),
    `${formatPageToken(root, 1)}=`,
    `${formatPageToken(root, 1)} `,
    Buffer.from(`t2 sha256/${root.hash}/4 1`).toString("base64url"),
    Buffer.from("constructor __proto__ 1").toString("base64url"),
  ])("%j is refused", (token) => {
    expect(() => parsePageToken(token, root)).toThrow(expect.objectContaining({ code: "invalid_argument" }));
  });

  test("past the end of the tree are refused", async () => {
    const { blobs, getTree } = fixture();
    const tree = await putTree(blobs);
    for (const place of [5, 6]) {
      await expectCode("invalid_argument", () => getTree(tree.root, { page_token: formatPageToken(tree.root, place) }));
    }
  });
});
