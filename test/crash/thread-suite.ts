import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { status } from "@grpc/grpc-js";
import { CacheClients } from "../support/cache-client.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { CaseReport, CrashSuite, SuiteOptions } from "./crash-suite.ts";
import { emptyVerification, problemsOf, verifyUploads } from "./crash-verification.ts";
import { UploadLog, writeUntilKilled } from "./crash-workload.ts";
import { directoryProblems } from "./directory-check.ts";

const CONNECTIONS = 8;
/** Each of two shards and the second listener ends twice, which is less than what makes a shard stay down. */
const KILLS = 6;
const BETWEEN_MS = { min: 20, max: 400 };
/** For a thread to be there again, and for calls in flight to be answered. */
const PATIENCE_MS = 30_000;
const STARTED_AGAIN = /"(?:shard worker started again|a listener thread was started again)"/g;

/** HAZARDS H28: threads of a server end while many write; the process goes on, and so does what is left of its work. */
export const threadSuite: CrashSuite = {
  title: "threads: shard workers and a listener thread end during uploads, read back, SIGTERM, restart, read back",
  columns: ["back ms", "acked", "unanswered", "whole", "restart ms", "read back", "actions"],
  programs: [],
  mounts: false,
  cycles: { short: 2, long: 30 },
  async *run(options) {
    for (let cycle = 0; cycle < options.cycles; cycle++) yield await threadCycle(options, cycle);
  },
};

async function threadCycle({ writers, seed }: SuiteOptions, cycle: number): Promise<CaseReport> {
  await using directory = await makeTemporaryDirectory("threads");
  const serverOptions = {
    directory: directory.path,
    shards: 2,
    extraArguments: ["--listeners", "2"],
    nodeArguments: [`--import=${join(import.meta.dirname, "kill-threads-preload.ts")}`],
  };
  await using server = await ServerProcess.start(serverOptions);
  const names = `${seed}/${cycle}`;
  const { uploads, backMsMax } = await writeWhileThreadsEnd(server, writers, names);
  const here = await readBack(server, uploads);
  await server.stop(PATIENCE_MS);

  const startedAtMs = performance.now();
  await using next = await ServerProcess.start(serverOptions);
  const restartMs = performance.now() - startedAtMs;
  const left = await directoryProblems(directory.path, next.endpoint);
  const there = await readBack(next, uploads);
  await next.stop(PATIENCE_MS);

  const sent = [uploads.acknowledged.length, uploads.unanswered.length, there.unansweredButWhole];
  const figures = [backMsMax, ...sent, restartMs, there.blobsVerified, there.actionsVerified];
  return {
    name: `cycle ${cycle}`,
    figures,
    problems: [...uploads.faults, ...problemsOf(here), ...left, ...problemsOf(there)],
  };
}

async function writeWhileThreadsEnd(
  server: ServerProcess,
  writers: number,
  cycle: string,
): Promise<{ uploads: UploadLog; backMsMax: number }> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const random = seededRandom(cycle);
  let isOver = false;
  const crash = { killed: () => isOver, failing: () => true, refusalCode: status.UNAVAILABLE };
  const logs = Array.from({ length: writers }, (_, writer) =>
    writeUntilKilled(clients.at(writer), { cycle, writer }, crash),
  );
  let backMsMax = 0;
  for (let kills = 1; kills <= KILLS; kills++) backMsMax = Math.max(backMsMax, await endThread(server, random, kills));
  // Writers go on with all threads there, so that what was wrong after the last end is seen.
  await delay(random.int(BETWEEN_MS.min, BETWEEN_MS.max));
  isOver = true;
  const written = await Promise.race([Promise.all(logs), delay(PATIENCE_MS, undefined, { ref: false })]);
  if (written === undefined) throw new Error(`calls are not answered within ${PATIENCE_MS} ms: ${server.output}`);
  return { uploads: UploadLog.joined(written), backMsMax };
}

/** @returns the time until the thread was started again. */
async function endThread(server: ServerProcess, random: SeededRandom, kills: number): Promise<number> {
  // The moment is the point of this test, not a wait for something.
  await delay(random.int(BETWEEN_MS.min, BETWEEN_MS.max));
  const endedAtMs = performance.now();
  process.kill(server.pid, "SIGUSR2");
  while ((server.output.match(STARTED_AGAIN)?.length ?? 0) < kills) {
    if (!server.running || performance.now() - endedAtMs > PATIENCE_MS) {
      throw new Error(`thread ${kills} is not started again: ${server.output}`);
    }
    await delay(5);
  }
  return performance.now() - endedAtMs;
}

async function readBack(server: ServerProcess, uploads: UploadLog) {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  await verifyUploads(clients, uploads, result);
  return result;
}
