import { describe, expect, test } from "vitest";
import { CompleteActionCache } from "../../src/cache/complete-action-cache.ts";
import type { Digest } from "../../src/cache/digest.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryActionCache } from "../../src/cache/entry-action-cache.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import { actionKey, casKey } from "../../src/cache/entry-key.ts";
import { ActionCacheService, type ActionCacheServiceOptions } from "../../src/grpc/action-cache-service.ts";
import type { ActionResult, GetActionResultRequest, UpdateActionResultRequest } from "../../src/grpc/messages.ts";
import { protoOutputReferences } from "../../src/grpc/output-references-reader.ts";
import { actionResultCodec, treeCodec } from "../../src/grpc/proto-definitions.ts";
import { digestMessage } from "../../src/grpc/request-digest.ts";
import { expectCode } from "../contract/entry-store-contract.ts";
import {
  actionResult,
  directoryOf,
  outputDirectory,
  outputFile,
  putBlob,
  putDirectory,
} from "../support/action-results.ts";
import { digestOf } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";

const action = digestOf(Buffer.from("action"));
const absent = digestOf(Buffer.from("never stored"));

function fixture(options: Partial<ActionCacheServiceOptions> = {}) {
  const entries = new MemoryEntryStore();
  const blobs = new EmptyBlobStore(new EntryBlobStore(entries));
  const stored = new EntryActionCache(entries);
  const actions = new CompleteActionCache(stored, blobs, protoOutputReferences);
  const service = new ActionCacheService({ actions, blobs, ...options });
  const common = { instance_name: "", action_digest: digestMessage(action), digest_function: 0 };
  return {
    entries,
    blobs,
    stored,
    retire: (digest: Digest) => entries.retire(casKey(digest)),
    get: async (fields: Partial<GetActionResultRequest> = {}) => {
      const noInlining = { inline_stdout: false, inline_stderr: false, inline_output_files: [] };
      const { bytes } = await service.getActionResult({ ...common, ...noInlining, ...fields });
      return actionResultCodec.decode(bytes);
    },
    update: async (result: ActionResult | null, fields: Partial<UpdateActionResultRequest> = {}) => {
      const request = { ...common, action_result: result, results_cache_policy: null, ...fields };
      return actionResultCodec.decode((await service.updateActionResult(request)).bytes);
    },
  };
}

describe("UpdateActionResult and GetActionResult", () => {
  test("give back what was stored, field by field", async () => {
    const { blobs, get, update } = fixture();
    const result = actionResult({
      output_files: [outputFile("out/a.o", await putBlob(blobs, "object"))],
      output_symlinks: [{ path: "out/link", target: "../a.o", node_properties: null }],
      exit_code: 3,
      stdout_digest: digestMessage(await putBlob(blobs, "hello")),
      stderr_raw: Buffer.from("without a digest"),
    });
    expect(await update(result)).toMatchObject({ exit_code: 3, stderr_raw: Buffer.from("without a digest") });
    expect(await get()).toMatchObject({
      output_files: [{ path: "out/a.o", digest: result.output_files[0]?.digest }],
      output_symlinks: [{ path: "out/link", target: "../a.o" }],
      exit_code: 3,
      stdout_digest: result.stdout_digest,
      stderr_raw: Buffer.from("without a digest"),
    });
  });

  test("keep instances apart, and the last update of a key wins", async () => {
    const { get, update } = fixture();
    await update(actionResult({ exit_code: 1 }));
    await update(actionResult({ exit_code: 2 }));
    await update(actionResult({ exit_code: 7 }), { instance_name: "other" });
    expect(await get()).toMatchObject({ exit_code: 2 });
    expect(await get({ instance_name: "other" })).toMatchObject({ exit_code: 7 });
    await expectCode("not_found", () => get({ instance_name: "third" }));
  });

  test("of concurrent updates one wins whole", async () => {
    const { get, update } = fixture();
    const results = Array.from({ length: 20 }, (_, index) =>
      actionResult({ exit_code: index, stdout_raw: Buffer.alloc(index * 100, index) }),
    );
    await Promise.all(results.map((result) => update(result)));
    const { exit_code, stdout_raw } = await get();
    expect(stdout_raw).toEqual(results[exit_code]?.stdout_raw);
  });

  test("an entry whose outputs are missing is stored and is a miss until they come", async () => {
    const { blobs, get, update } = fixture();
    await update(actionResult({ output_files: [outputFile("late", digestOf(Buffer.from("late")))] }));
    await expectCode("not_found", () => get());
    await putBlob(blobs, "late");
    expect((await get()).output_files).toHaveLength(1);
  });

  test("refuse a bad action digest, digest function or instance name", async () => {
    const { get, update } = fixture();
    const bad = [
      { action_digest: null },
      { action_digest: { hash: "x", size_bytes: 1 } },
      { digest_function: 4 },
      { instance_name: "a//b" },
    ];
    for (const fields of bad) {
      await expectCode("invalid_argument", () => get(fields));
      await expectCode("invalid_argument", () => update(actionResult(), fields));
    }
  });
});

describe("I8: a hit with protobuf messages", () => {
  test("follows stdout, stderr, files, Trees with their children, and root directories", async () => {
    const { blobs, get, update, retire } = fixture();
    const put = (text: string) => putBlob(blobs, text);
    const [stdout, stderr, file] = [await put("stdout"), await put("stderr"), await put("file")];
    const [inRoot, inChild] = [await put("in the root of the tree"), await put("in a child of the tree")];
    const tree = treeCodec.encode({ root: directoryOf({ inRoot }), children: [directoryOf({ inChild })] });
    const [inTop, inBelow] = [await put("in the root directory"), await put("in a directory below")];
    const below = await putDirectory(blobs, directoryOf({ inBelow }));
    const top = await putDirectory(blobs, directoryOf({ inTop }, { below }));
    const treeDigest = await putBlob(blobs, tree);
    await update(
      actionResult({
        output_files: [outputFile("file", file)],
        output_directories: [outputDirectory("tree", treeDigest), outputDirectory("", undefined, top)],
        stdout_digest: digestMessage(stdout),
        stderr_digest: digestMessage(stderr),
      }),
    );
    await get();
    for (const digest of [stdout, stderr, file, inRoot, inChild, treeDigest, inTop, inBelow, below, top]) {
      const content = await blobs.get(digest);
      const bytes = await content!.bytes();
      retire(digest);
      await expectCode("not_found", () => get());
      await blobs.put(digest, bytes);
      await get();
    }
  });

  test("an undecodable Tree, and one with a digest that is none, are misses", async () => {
    const { blobs, get, update } = fixture();
    const badNode = { name: "f", digest: { hash: "zz", size_bytes: 1 } };
    for (const tree of [
      Buffer.from("\xff\xff no tree"),
      treeCodec.encode({ root: { files: [badNode] } }),
      treeCodec.encode({ children: [{ files: [{ name: "f" }] }] }),
    ]) {
      await update(actionResult({ output_directories: [outputDirectory("out", await putBlob(blobs, tree))] }));
      await expectCode("not_found", () => get());
    }
  });

  test("a stored value that is no ActionResult is a miss", async () => {
    const { entries, get } = fixture();
    await entries.put(actionKey("", action), Buffer.from("\xff\xff no action result"));
    await expectCode("not_found", () => get());
  });

  test("the empty blob counts as present", async () => {
    const { get, update } = fixture();
    await update(actionResult({ output_files: [outputFile("empty", digestOf(Buffer.alloc(0)))] }));
    expect((await get()).output_files).toHaveLength(1);
  });
});

describe("inlining", () => {
  async function stored(options: Partial<ActionCacheServiceOptions> = {}) {
    const opened = fixture(options);
    const { blobs, update } = opened;
    await update(
      actionResult({
        output_files: [
          { ...outputFile("a", await putBlob(blobs, "aaaa")), contents: Buffer.from("aaaa") },
          outputFile("b", await putBlob(blobs, "bbbb")),
        ],
        stdout_digest: digestMessage(await putBlob(blobs, "out!")),
        stdout_raw: Buffer.from("out!"),
        stderr_digest: digestMessage(await putBlob(blobs, "err!")),
      }),
    );
    return {
      ...opened,
      inlined: async (fields: Partial<GetActionResultRequest>) => {
        const result = await opened.get(fields);
        return [result.stdout_raw, result.stderr_raw, ...result.output_files.map(({ contents }) => contents)].join("|");
      },
    };
  }

  test("does what was asked for and nothing else", async () => {
    const { inlined } = await stored();
    expect(await inlined({})).toBe("|||");
    expect(await inlined({ inline_stdout: true })).toBe("out!|||");
    expect(await inlined({ inline_stderr: true })).toBe("|err!||");
    expect(await inlined({ inline_output_files: ["b", "unknown"] })).toBe("|||bbbb");
    expect(await inlined({ inline_stdout: true, inline_stderr: true, inline_output_files: ["a", "b"] })).toBe(
      "out!|err!|aaaa|bbbb",
    );
  });

  test("leaves out what does not fit in all", async () => {
    const { inlined } = await stored({ inlineBytesMax: 9 });
    const everything = { inline_stdout: true, inline_stderr: true, inline_output_files: ["a", "b"] };
    expect(await inlined(everything)).toBe("out!|err!||");
    expect(await inlined({ ...everything, inline_stdout: false })).toBe("|err!|aaaa|");
  });

  test("stays below what a client takes in one message by default", async () => {
    const { blobs, get, update } = fixture();
    const large = await Promise.all(
      Array.from({ length: 5 }, (_, index) => putBlob(blobs, Buffer.alloc(1 << 20, index))),
    );
    await update(actionResult({ output_files: large.map((digest, index) => outputFile(`${index}`, digest)) }));
    const result = await get({ inline_output_files: large.map((_, index) => `${index}`) });
    expect(result.output_files.map(({ contents }) => contents.length)).toEqual([1 << 20, 1 << 20, 1 << 20, 0, 0]);
  });
});

describe("UpdateActionResult refuses", () => {
  const good = digestMessage(absent);
  const bad = { hash: "ABC", size_bytes: 1 };
  const file = outputFile("f", absent);
  const directory = outputDirectory("d", absent);
  const link = { path: "l", target: "t", node_properties: null };

  test.each<[string, Partial<ActionResult>]>([
    ["output_files[1].digest", { output_files: [file, { ...file, digest: bad }] }],
    ["output_files[0].digest", { output_files: [{ ...file, digest: null }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: "" }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: "/etc/passwd" }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: "a//b" }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: "a/" }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: "./a" }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: "a/../../b" }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: ".." }] }],
    ["output_files[0].path", { output_files: [{ ...file, path: "a\0b" }] }],
    ["output_directories[0].path", { output_directories: [{ ...directory, path: "/" }] }],
    ["output_directories[0].tree_digest", { output_directories: [{ ...directory, tree_digest: null }] }],
    ["output_directories[0].tree_digest", { output_directories: [{ ...directory, tree_digest: bad }] }],
    [
      "output_directories[0].root_directory_digest",
      { output_directories: [{ ...directory, root_directory_digest: bad }] },
    ],
    ["output_symlinks[0].path", { output_symlinks: [{ ...link, path: "" }] }],
    ["output_symlinks[0].target", { output_symlinks: [{ ...link, target: "" }] }],
    ["output_file_symlinks[0].path", { output_file_symlinks: [{ ...link, path: "/l" }] }],
    ["output_directory_symlinks[0].path", { output_directory_symlinks: [{ ...link, path: "/l" }] }],
    ["stdout_digest", { stdout_digest: bad }],
    ["stderr_digest", { stderr_digest: { ...good, size_bytes: -1 } }],
  ])("a bad %s, and names it", async (field, fields) => {
    const { update, stored } = fixture();
    const refused = update(actionResult(fields));
    await expect(refused).rejects.toMatchObject({ code: "invalid_argument" });
    await expect(refused).rejects.toThrow(`action_result.${field}`);
    expect(await stored.get("", action)).toBeUndefined();
  });

  test("a request without a result", async () => {
    await expectCode("invalid_argument", () => fixture().update(null));
  });

  test("but not paths that climb out of the working directory, nor targets of any form", async () => {
    const { update } = fixture();
    const { output_symlinks } = await update(
      actionResult({
        output_files: [{ ...file, path: "../../out/ünï ø.o" }],
        output_symlinks: [{ ...link, target: "/absolute/../x" }],
        output_directories: [{ ...directory, path: "" }],
      }),
    );
    expect(output_symlinks).toHaveLength(1);
  });
});
