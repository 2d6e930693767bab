import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeTemporaryDirectory } from "./support/temporary-directory.ts";

const MODULE = join(import.meta.dirname, "../src/worker-environment.ts");
const PROGRAM = `import { workerEnvironment } from ${JSON.stringify(MODULE)}; console.log(JSON.stringify(workerEnvironment()));`;

function environmentUnder(environment: NodeJS.ProcessEnv): unknown {
  const env = { ...process.env, NODE_COMPILE_CACHE: "", SECRET: "x", ...environment };
  const { stdout } = spawnSync(process.execPath, ["--input-type=module-typescript", "--eval", PROGRAM], { env });
  return JSON.parse(stdout.toString());
}

test("a worker thread is told where compiled modules are kept, and nothing else", async () => {
  await using directory = await makeTemporaryDirectory("compiled");
  expect(environmentUnder({})).toEqual({});
  expect(environmentUnder({ NODE_COMPILE_CACHE: directory.path })).toEqual({ NODE_COMPILE_CACHE: directory.path });
});
