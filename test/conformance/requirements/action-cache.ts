import { randomUUID } from "node:crypto";
import type { Blob } from "../digest-functions.ts";
import { expectBytes, expectEqual, expectFailure, expectThat } from "../expectations.ts";
import { type DigestMessage, encodeMessage } from "../protocol.ts";
import type { Requirement } from "../requirement.ts";
import { digestOf, type Target } from "../target.ts";
import { directoryBlob } from "./get-tree.ts";

const GET = "ActionCache.GetActionResult";
const UPDATE = "ActionCache.UpdateActionResult";

function mayUpdate({ cache }: Target): boolean {
  return cache.action_cache_update_capabilities?.update_enabled ?? false;
}

/** Stores a new action and its command, which the API wants in the CAS before a result. @returns its digest. */
async function storeAction(target: Target): Promise<DigestMessage> {
  const command = target.blobOf(encodeMessage("Command", { arguments: ["true", randomUUID()] }));
  const input_root_digest = digestOf(target.emptyBlob);
  const action = target.blobOf(encodeMessage("Action", { command_digest: digestOf(command), input_root_digest }));
  await target.store(command, action);
  return digestOf(action);
}

/** Stores a result for a new action. @returns the request that asks for it. */
async function storeResult(target: Target, action_result: object): Promise<{ action_digest: DigestMessage }> {
  const action_digest = await storeAction(target);
  await target.call("UpdateActionResult", { action_digest, action_result });
  return { action_digest };
}

function outputFile(path: string, blob: Blob): object {
  return { path, digest: digestOf(blob) };
}

/** A row for a result of which something is not in the CAS: a miss, and no fault. */
function incomplete(id: string, what: string, resultOf: (target: Target) => object | Promise<object>): Requirement {
  return {
    id: `actions.incomplete-${id}`,
    level: "SHOULD",
    what: `a result is a miss while ${what} is not in the CAS`,
    source: GET,
    offered: mayUpdate,
    check: async (target) => {
      const request = await storeResult(target, await resultOf(target));
      await expectFailure(target.call("GetActionResult", request), "NOT_FOUND");
    },
  };
}

/** A row for a result that should not be stored. */
function refused(id: string, what: string, resultOf: (target: Target) => object): Requirement {
  return {
    id: `actions.refused-${id}`,
    level: "SHOULD",
    what: `an update with ${what} is INVALID_ARGUMENT`,
    source: UPDATE,
    offered: mayUpdate,
    check: async (target) => {
      await expectFailure(storeResult(target, resultOf(target)), "INVALID_ARGUMENT");
    },
  };
}

function outputTree(tree: Blob): object {
  return { output_directories: [{ path: "out", tree_digest: digestOf(tree) }] };
}

function treeBlob(target: Target, file: Blob): Blob {
  const child = { files: [{ name: "file", digest: digestOf(file) }] };
  const root = { directories: [{ name: "child", digest: digestOf(target.blobOf(encodeMessage("Directory", child))) }] };
  return target.blobOf(encodeMessage("Tree", { root, children: [child] }));
}

export const actionCacheRequirements: readonly Requirement[] = [
  {
    id: "actions.miss",
    level: "MUST",
    what: "an action that nobody has run is NOT_FOUND",
    source: GET,
    check: async (target) => {
      const request = { action_digest: digestOf(target.freshBlob(100)) };
      await expectFailure(target.call("GetActionResult", request), "NOT_FOUND");
    },
  },
  {
    id: "actions.round-trip",
    level: "MUST",
    what: "a result is found as it was stored",
    source: UPDATE,
    offered: mayUpdate,
    check: async (target) => {
      const file = await target.storeNew(1000);
      const stored = { output_files: [outputFile("dir/out", file)], exit_code: 3 };
      const found = await target.call("GetActionResult", await storeResult(target, stored));
      expectEqual("exit_code", 3, found.exit_code);
      expectEqual("output_files", 1, found.output_files.length);
      expectEqual("path", "dir/out", found.output_files[0]?.path);
      expectEqual("hash", file.hash, found.output_files[0]?.digest?.hash);
    },
  },
  {
    id: "actions.update-answer",
    level: "MUST",
    what: "an update is answered with the result",
    source: UPDATE,
    offered: mayUpdate,
    check: async (target) => {
      const action_digest = await storeAction(target);
      const answer = await target.call("UpdateActionResult", { action_digest, action_result: { exit_code: 7 } });
      expectEqual("exit_code", 7, answer.exit_code);
    },
  },
  {
    id: "actions.last-wins",
    level: "SHOULD",
    what: "a later result takes the place of an earlier one",
    source: UPDATE,
    offered: mayUpdate,
    check: async (target) => {
      const request = await storeResult(target, { exit_code: 1 });
      await target.call("UpdateActionResult", { ...request, action_result: { exit_code: 2 } });
      expectEqual("exit_code", 2, (await target.call("GetActionResult", request)).exit_code);
    },
  },
  {
    id: "actions.no-outputs",
    level: "MUST",
    what: "a result without outputs, and one whose output is the empty blob, is found",
    source: GET,
    offered: mayUpdate,
    check: async (target) => {
      const stored = {
        output_files: [outputFile("empty", target.emptyBlob)],
        stdout_digest: digestOf(target.emptyBlob),
      };
      const found = await target.call("GetActionResult", await storeResult(target, stored));
      expectEqual("output_files", 1, found.output_files.length);
      await target.call("GetActionResult", await storeResult(target, { exit_code: 0, stdout_raw: Buffer.from("x") }));
    },
  },
  {
    id: "actions.complete-tree",
    level: "MUST",
    what: "a result whose Tree and all files in it are there is found",
    source: GET,
    offered: mayUpdate,
    check: async (target) => {
      const tree = treeBlob(target, await target.storeNew(100));
      await target.store(tree);
      await target.call("GetActionResult", await storeResult(target, outputTree(tree)));
    },
  },
  incomplete("file", "an output file", (target) => ({ output_files: [outputFile("out", target.freshBlob(100))] })),
  incomplete("stdout", "stdout", (target) => ({ stdout_digest: digestOf(target.freshBlob(100)) })),
  incomplete("stderr", "stderr", (target) => ({ stderr_digest: digestOf(target.freshBlob(100)) })),
  incomplete("tree", "a Tree", (target) => outputTree(treeBlob(target, target.emptyBlob))),
  incomplete("tree-file", "a file in a Tree", async (target) => {
    const tree = treeBlob(target, target.freshBlob(100));
    await target.store(tree);
    return outputTree(tree);
  }),
  incomplete("root-directory", "a root directory", (target) => ({
    output_directories: [{ path: "out", root_directory_digest: digestOf(directoryBlob(target, target.emptyBlob)) }],
  })),
  incomplete("directory-file", "a file below a root directory", async (target) => {
    const child = directoryBlob(target, target.freshBlob(100));
    const root = directoryBlob(target, target.emptyBlob, { child });
    await target.store(child, root);
    return { output_directories: [{ path: "out", root_directory_digest: digestOf(root) }] };
  }),
  {
    id: "actions.undecodable-tree",
    level: "SHOULD",
    what: "a result whose Tree is no Tree is a miss, and no fault of the server",
    source: GET,
    offered: mayUpdate,
    check: async (target) => {
      const noTree = target.blobOf(Buffer.concat([Buffer.from([0x0a, 0xff]), target.freshBlob(20).bytes]));
      await target.store(noTree);
      const request = await storeResult(target, outputTree(noTree));
      await expectFailure(target.call("GetActionResult", request), "NOT_FOUND");
    },
  },
  {
    id: "actions.inline",
    level: "SHOULD",
    what: "stdout and output files are sent inside the result where the client asks for them",
    source: "GetActionResultRequest.inline_stdout",
    offered: mayUpdate,
    check: async (target) => {
      const stdout = await target.storeNew(200);
      const file = await target.storeNew(300);
      const stored = { output_files: [outputFile("out", file)], stdout_digest: digestOf(stdout) };
      const request = await storeResult(target, stored);
      const asked = { ...request, inline_stdout: true, inline_output_files: ["out"] };
      const found = await target.call("GetActionResult", asked);
      expectBytes("stdout_raw", stdout.bytes, found.stdout_raw);
      expectBytes("contents", file.bytes, found.output_files[0]?.contents ?? Buffer.alloc(0));
    },
  },
  {
    id: "actions.inline-digest",
    level: "MUST",
    what: "what is sent inside a result can be had by its digest as well",
    source: "OutputFile.contents",
    offered: mayUpdate,
    check: async (target) => {
      const file = await target.storeNew(300);
      const request = await storeResult(target, { output_files: [outputFile("out", file)] });
      const found = await target.call("GetActionResult", { ...request, inline_output_files: ["out"] });
      const [output] = found.output_files;
      expectThat(output?.digest?.hash === file.hash, "the digest of the output", `${output?.digest?.hash}`);
      expectBytes("a Read", file.bytes, await target.read(target.blobName(file)));
    },
  },
  refused("digest", "an output without a sound digest", () => ({
    output_files: [{ path: "out", digest: { hash: "no hash", size_bytes: 1 } }],
  })),
  refused("path", "an absolute output path", (target) => ({ output_files: [outputFile("/out", target.emptyBlob)] })),
  {
    id: "actions.refused-caller",
    level: "MUST",
    what: "an update is refused where update_enabled is false",
    source: "ActionCacheUpdateCapabilities.update_enabled",
    offered: (target) => !mayUpdate(target),
    check: async (target) => {
      const request = { action_digest: digestOf(target.freshBlob(100)), action_result: {} };
      await expectFailure(target.call("UpdateActionResult", request));
    },
  },
];
