import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { CacheClients } from "../support/cache-client.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { CaseReport, CrashSuite, SuiteOptions } from "./crash-suite.ts";
import {
  emptyVerification,
  problemsOf,
  type VerificationResult,
  verifyBlobs,
  verifyUploads,
} from "./crash-verification.ts";
import { type CrashView, UploadLog, writeUntilKilled } from "./crash-workload.ts";
import { directoryProblems } from "./directory-check.ts";
import { LOOP_PROGRAMS, LoopFileSystem } from "./loop-file-system.ts";

const CONNECTIONS = 8;
const CUT_AFTER_MS = { min: 20, max: 400 };
/** How long the server lives on without its disk: what it acknowledges then is lost. */
const AFTERLIFE_MS_MAX = 60;
const CUTS_PER_FILE_SYSTEM = 10;
const OLDER_BLOBS_SAMPLED = 100;
const MAX_SIZE = "16GiB";
/** With a server that does not sync, the first cut should already lose something. */
const UNSYNCED_CUTS_MAX = 5;

/** Cuts the power under a server that is being written to, `cycles` times; then shows that it would see a lost sync. */
export const powerSuite: CrashSuite = {
  title: "power: everything that was not synced is gone",
  columns: ["cut ms", "acked", "doubt: lost", "unanswered", "whole", "restart ms", "read back", "actions"],
  programs: [...LOOP_PROGRAMS, { program: "eatmydata", packages: ["eatmydata"] }],
  mounts: true,
  cycles: { short: 12, long: 200 },
  async *run(options) {
    for (let first = 0; first < options.cycles; first += CUTS_PER_FILE_SYSTEM) {
      const last = Math.min(first + CUTS_PER_FILE_SYSTEM, options.cycles) - 1;
      yield* powerCuts(options, { first, last, wrapper: [] });
    }
    let lost = 0;
    let cuts = 0;
    for await (const { problems } of powerCuts(options, {
      first: 0,
      last: UNSYNCED_CUTS_MAX - 1,
      wrapper: ["eatmydata"],
    })) {
      cuts++;
      lost += problems.filter((problem) => problem.startsWith("LOST")).length;
      if (lost > 0) break;
    }
    const problems = lost > 0 ? [] : ["a server whose syncs do nothing lost nothing: this suite sees no missing sync"];
    yield {
      name: `without syncs (eatmydata): ${lost} lost, as it must be`,
      figures: [cuts, "", "", "", "", "", "", ""],
      problems,
    };
  },
};

interface CutRange {
  readonly first: number;
  readonly last: number;
  readonly wrapper: readonly string[];
}

/** Cut after cut on one file system; the server that checks one is the server that is hit by the next. */
async function* powerCuts(options: SuiteOptions, { first, last, wrapper }: CutRange): AsyncGenerator<CaseReport> {
  await using scratch = await makeTemporaryDirectory("power");
  using disk = LoopFileSystem.make(scratch.path);
  const directory = join(disk.mountPoint, "data");
  mkdirSync(directory);
  const serverOptions = { directory, maxSize: MAX_SIZE, wrapper, extraArguments: ["--segment-size", "4MiB"] };
  const older = new UploadLog();
  let server = await ServerProcess.start(serverOptions);
  try {
    for (let cut = first; cut <= last; cut++) {
      const random = seededRandom(`${options.seed}/${wrapper.join()}/${cut}`);
      const { uploads, cutAfterMs } = await uploadAndCut(server, disk, options, cut, random);
      const startedAt = performance.now();
      server = await ServerProcess.start(serverOptions);
      const restartMs = performance.now() - startedAt;
      const left = await directoryProblems(directory, server.endpoint);
      const verified = await verify(server, uploads, cut === last ? older : sampleOf(older, random));
      const doubt = await verifyDoubtful(server, uploads);
      older.add(uploads);
      const sent = [
        uploads.acknowledged.length,
        `${doubt.lost.length}/${uploads.doubtful.length}`,
        uploads.unanswered.length,
        verified.unansweredButWhole,
      ];
      const figures = [cutAfterMs, ...sent, restartMs, verified.blobsVerified, verified.actionsVerified];
      const problems = [...uploads.faults, ...left, ...problemsOf(verified)];
      yield { name: `cut ${cut}`, figures, problems };
    }
  } finally {
    await server.kill();
  }
}

async function uploadAndCut(
  server: ServerProcess,
  disk: LoopFileSystem,
  options: SuiteOptions,
  cut: number,
  random: SeededRandom,
): Promise<{ uploads: UploadLog; cutAfterMs: number }> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  let cutBegunAtMs = Number.POSITIVE_INFINITY;
  let cutDoneAtMs = Number.POSITIVE_INFINITY;
  let killed = false;
  const crash: CrashView = {
    killed: () => killed,
    failing: () => performance.now() >= cutBegunAtMs,
    // A sync that runs while ext4 shuts down may end well and be lost: a machine without power answers nobody. What
    // is sent once the power is gone must not be acknowledged, and what was acknowledged before must be there.
    worth(sentAtMs) {
      if (sentAtMs > cutDoneAtMs) return "afterCrash";
      return performance.now() >= cutBegunAtMs ? "doubtful" : "acknowledged";
    },
  };
  const cycle = `${options.seed}/${cut}`;
  const writers = Array.from({ length: options.writers }, (_, writer) =>
    writeUntilKilled(clients.at(writer), { cycle, writer }, crash),
  );
  const cutAfterMs = random.int(CUT_AFTER_MS.min, CUT_AFTER_MS.max);
  try {
    const cutPower = await disk.armPowerCut();
    // The moments are the point of this test, not waits for something.
    await new Promise((resolve) => setTimeout(resolve, cutAfterMs));
    cutBegunAtMs = performance.now();
    await cutPower();
    cutDoneAtMs = performance.now();
    await new Promise((resolve) => setTimeout(resolve, random.int(0, AFTERLIFE_MS_MAX)));
  } finally {
    killed = true;
    await server.kill();
  }
  disk.unmount();
  disk.mount();
  return { uploads: UploadLog.joined(await Promise.all(writers)), cutAfterMs };
}

function sampleOf({ acknowledged }: UploadLog, random: SeededRandom): UploadLog {
  const sample = new UploadLog();
  const count = acknowledged.length === 0 ? 0 : OLDER_BLOBS_SAMPLED;
  sample.acknowledged.push(...Array.from({ length: count }, () => random.pick(acknowledged)));
  return sample;
}

async function verify(server: ServerProcess, uploads: UploadLog, older: UploadLog): Promise<VerificationResult> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  await verifyUploads(clients, older, result);
  await verifyUploads(clients, uploads, result);
  return result;
}

/** For the table: what of it is lost is lost by right. */
async function verifyDoubtful(server: ServerProcess, { doubtful }: UploadLog): Promise<VerificationResult> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  await verifyBlobs(clients, doubtful, true, result);
  return result;
}
