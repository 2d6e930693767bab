import type { EngineOptions } from "../../src/storage/engine-options.ts";
import { StorageEngine } from "../../src/storage/storage-engine.ts";
import { makeTemporaryDirectory } from "./temporary-directory.ts";

export const MIB = 1024 * 1024;

export interface TestEngine extends AsyncDisposable {
  readonly store: StorageEngine;
  readonly directory: string;
  /** What the engine logged as warning or error. */
  readonly complaints: string[];
  close(): Promise<void>;
}

/** An engine with real shard workers in a directory of its own, or in the one given. */
export async function openTestEngine(options: Partial<EngineOptions> = {}): Promise<TestEngine> {
  const temporary = options.directory === undefined ? await makeTemporaryDirectory("engine") : undefined;
  const directory = options.directory ?? temporary?.path ?? "";
  const complaints: string[] = [];
  const complain = (_fields: object, message: string): void => void complaints.push(message);
  const store = await StorageEngine.open({
    maxBytes: 512 * MIB,
    shardCount: 2,
    durability: "commit",
    logger: { info: () => undefined, warn: complain, error: complain },
    ...options,
    directory,
  });
  const close = async (): Promise<void> => {
    await store[Symbol.asyncDispose]();
    await temporary?.[Symbol.asyncDispose]();
  };
  return { store, directory, complaints, close, [Symbol.asyncDispose]: close };
}
