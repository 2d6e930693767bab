import { CacheError } from "../../src/cache/cache-error.ts";
import { CompleteActionCache } from "../../src/cache/complete-action-cache.ts";
import { EmptyBlobStore } from "../../src/cache/empty-blob-store.ts";
import { EntryActionCache } from "../../src/cache/entry-action-cache.ts";
import { EntryBlobStore } from "../../src/cache/entry-blob-store.ts";
import type { Digest } from "../../src/cache/digest.ts";
import { checkActionResult } from "../../src/grpc/action-result-check.ts";
import { protoOutputReferences } from "../../src/grpc/output-references-reader.ts";
import { actionResultCodec, treeCodec } from "../../src/grpc/proto-definitions.ts";
import { actionResult, directoryOf, outputDirectory, outputFile, putBlob } from "../support/action-results.ts";
import { contentOf, randomContent } from "../support/cas-content.ts";
import { MemoryEntryStore } from "../support/memory-entry-store.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { check, type FuzzTarget } from "./fuzz-target.ts";
import { mutateBytes } from "./mutation.ts";

/**
 * Action results and Trees, sound and mutated, as they may come from a client or lie in the cache: a hit means that all
 * they name is there, and anything else is a miss or a refusal, never a fault.
 */
export class ActionResultTarget implements FuzzTarget {
  readonly figures = { runs: 0, hits: 0, misses: 0, refused: 0 };

  async run(seed: number): Promise<void> {
    const random = seededRandom(seed);
    this.figures.runs++;
    const entries = new MemoryEntryStore();
    const blobs = new EmptyBlobStore(new EntryBlobStore(entries));
    const actions = new CompleteActionCache(new EntryActionCache(entries), blobs, protoOutputReferences);
    const bytes = mutatedOrNot(random, await encodedResult(random, blobs));
    const action = randomContent(random, 10).digest;

    this.#check(bytes);
    await new EntryActionCache(entries).put("", action, bytes);
    const hit = await actions.get("", action);
    if (hit === undefined) {
      this.figures.misses++;
      return;
    }
    this.figures.hits++;
    check(Buffer.from(hit).equals(bytes), () => "a hit that is not what was stored");
    for (const digest of await named(bytes, blobs)) check(blobs.peek(digest), () => `a hit without ${digest.hash}`);
  }

  #check(bytes: Buffer): void {
    try {
      checkActionResult(actionResultCodec.decode(bytes), "sha256");
    } catch (error) {
      check(error instanceof CacheError && error.code === "invalid_argument", () => String(error));
      this.figures.refused++;
    }
  }
}

async function encodedResult(random: SeededRandom, blobs: EmptyBlobStore): Promise<Buffer> {
  const file = async (): Promise<Digest> => {
    const content = randomContent(random, random.int(0, 50));
    if (random.fraction() < 0.95) await blobs.put(content.digest, content.bytes);
    return content.digest;
  };
  const child = directoryOf({ a: await file() });
  const root = directoryOf({ b: await file(), c: await file() });
  const tree = mutatedOrNot(random, Buffer.from(treeCodec.encode({ root, children: [child] })));
  const result = actionResult({
    output_files: [outputFile("out/x", await file()), outputFile("out/y", await file())],
    output_directories: [outputDirectory("dir", await putBlob(blobs, tree))],
    exit_code: random.int(0, 3),
  });
  return Buffer.from(actionResultCodec.encode(result));
}

function mutatedOrNot(random: SeededRandom, bytes: Buffer): Buffer {
  return random.fraction() < 0.5 ? bytes : mutateBytes(random, bytes);
}

/** All that the result and its Trees name. */
async function named(bytes: Buffer, blobs: EmptyBlobStore): Promise<Digest[]> {
  const { blobs: files, trees, rootDirectories } = protoOutputReferences.ofActionResult(bytes, "sha256");
  const digests = [...files, ...trees, ...rootDirectories];
  for (const tree of trees) {
    const content = await blobs.get(tree);
    const treeBytes = (await content?.bytes()) ?? contentOf(Buffer.alloc(0)).bytes;
    digests.push(...protoOutputReferences.ofTree(treeBytes, "sha256"));
  }
  return digests;
}
