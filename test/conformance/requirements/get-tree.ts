import type { Blob } from "../digest-functions.ts";
import { expectEqual, expectFailure, expectThat } from "../expectations.ts";
import { encodeMessage, type GetTreeResponseMessage } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target } from "../target.ts";

const SOURCE = "ContentAddressableStorage.GetTree";

/** A directory of one new file, so that no two are alike, and of directories by name. */
export function directoryBlob(target: Target, file: Blob, directories: Readonly<Record<string, Blob>> = {}): Blob {
  const message = {
    files: [{ name: "file", digest: digestOf(file) }],
    directories: Object.entries(directories).map(([name, blob]) => ({ name, digest: digestOf(blob) })),
  };
  return target.blobOf(encodeMessage("Directory", message));
}

interface StoredTree {
  readonly root: Blob;
  /** Below the root; the second lies in the first and in the root. */
  readonly children: readonly Blob[];
}

/** root/{a/{shared}, b, shared}: four directories, one of them in two places. */
async function storeTree(target: Target, options: { without?: "b" } = {}): Promise<StoredTree> {
  const file = await target.storeNew(10);
  const shared = directoryBlob(target, file);
  const a = directoryBlob(target, file, { shared });
  const b = directoryBlob(target, target.freshBlob(10));
  const root = directoryBlob(target, file, { a, b, shared });
  const children = options.without === "b" ? [a, shared] : [a, shared, b];
  await target.store(root, ...children);
  return { root, children };
}

/** Hashes of the directories in the order in which they came. */
function hashes(target: Target, responses: readonly GetTreeResponseMessage[]): string[] {
  const directories = responses.flatMap((response) => response.directories);
  return directories.map(({ files, directories: children }) => {
    // Decoding fills in what is default; the directories here were encoded without it.
    const nodes = [files, children].map((list) => list.map(({ name, digest }) => ({ name, digest })));
    return target.blobOf(encodeMessage("Directory", { files: nodes[0], directories: nodes[1] })).hash;
  });
}

/** All pages, also from a server that ends the stream after each and wants a call for the next. */
async function allPages(target: Target, root: Blob, pageSize: number): Promise<GetTreeResponseMessage[]> {
  const pages: GetTreeResponseMessage[] = [];
  let page_token = "";
  do {
    const request = { root_digest: digestOf(root), page_size: pageSize, page_token };
    pages.push(...(await target.getTree(request)));
    page_token = pages.at(-1)?.next_page_token ?? "";
  } while (page_token !== "" && pages.length < 100);
  return pages;
}

function expectDirectories(target: Target, tree: StoredTree, responses: readonly GetTreeResponseMessage[]): void {
  const got = new Set(hashes(target, responses));
  const expected = [tree.root, ...tree.children];
  const isComplete = expected.every(({ hash }) => got.has(hash)) && got.size === expected.length;
  expectThat(isComplete, `the ${expected.length} directories`, `${got.size}, not all of them the same`);
}

export const getTreeRequirements: readonly Requirement[] = [
  {
    id: "tree.whole",
    level: "MUST",
    what: "every directory from the root down is sent",
    source: SOURCE,
    check: async (target) => {
      const tree = await storeTree(target);
      expectDirectories(target, tree, await allPages(target, tree.root, 0));
    },
  },
  {
    id: "tree.once",
    level: "SHOULD",
    what: "a directory that lies in several places is sent once, and the root first",
    source: SOURCE,
    check: async (target) => {
      const tree = await storeTree(target);
      const got = hashes(target, await allPages(target, tree.root, 0));
      expectEqual("directories", 1 + tree.children.length, got.length);
      expectEqual("first", tree.root.hash, got[0]);
    },
  },
  {
    id: "tree.missing-root",
    level: "MUST",
    what: "a root that is not there is NOT_FOUND",
    source: SOURCE,
    check: async (target) => {
      const root = directoryBlob(target, target.freshBlob(10));
      await expectFailure(target.getTree({ root_digest: digestOf(root) }), "NOT_FOUND");
    },
  },
  {
    id: "tree.missing-child",
    level: "MUST",
    what: "a child that is not there is left out, and the rest is sent",
    source: SOURCE,
    check: async (target) => {
      const tree = await storeTree(target, { without: "b" });
      expectDirectories(target, tree, await allPages(target, tree.root, 0));
    },
  },
  {
    id: "tree.page-size",
    level: "MUST",
    what: "no response has more directories than page_size",
    source: "GetTreeRequest.page_size",
    check: async (target) => {
      const tree = await storeTree(target);
      const pages = await allPages(target, tree.root, 1);
      const largest = Math.max(...pages.map(({ directories }) => directories.length));
      expectThat(largest <= 1, "at most 1 directory in a response", `${largest}`);
      expectDirectories(target, tree, pages);
    },
  },
  {
    id: "tree.page-token",
    level: "SHOULD",
    what: "next_page_token leads to the directories that follow",
    source: "GetTreeRequest.page_token",
    check: async (target) => {
      const tree = await storeTree(target);
      const [first] = await target.getTree({ root_digest: digestOf(tree.root), page_size: 1 });
      const page_token = first?.next_page_token ?? "";
      expectThat(page_token !== "", "a next_page_token after 1 of 4 directories", "none");
      const rest = await target.getTree({ root_digest: digestOf(tree.root), page_token });
      expectDirectories(target, tree, [...(first === undefined ? [] : [first]), ...rest]);
      const repeated = hashes(target, rest).includes(hashes(target, first === undefined ? [] : [first])[0] ?? "");
      expectThat(!repeated, "the first page to be skipped", "it was sent again");
    },
  },
];
