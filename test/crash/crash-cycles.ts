import type { Digest } from "../../src/cache/digest.ts";
import { CacheClients } from "../support/cache-client.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { emptyVerification, type VerificationResult, verifyActions, verifyBlobs } from "./crash-verification.ts";
import { type ActionLog, type WriterLog, writeUntilKilled } from "./crash-workload.ts";

export interface CrashOptions {
  readonly cycles: number;
  readonly writers: number;
  readonly seed: string;
  readonly report?: (cycle: CycleReport) => void;
}

export interface CycleReport extends VerificationResult {
  readonly cycle: number;
  readonly acknowledgedBlobs: number;
  readonly unansweredBlobs: number;
  readonly killedAfterMs: number;
  /** From the start of the process to its listening line, with recovery. */
  readonly restartMs: number;
  readonly faults: string[];
}

/** A directory is left behind after so many cycles, so that a long run needs a bounded disk. */
const CYCLES_PER_DIRECTORY = 50;
const CONNECTIONS = 8;
const OLDER_BLOBS_SAMPLED = 40;
/** Far above what the cycles of one directory upload: a blob that is gone was lost, not evicted. */
const MAX_SIZE = "64GiB";
const KILLED_AFTER_MS = { min: 30, max: 1000 };

/** Everything acknowledged so far in one directory. */
interface Ledger {
  readonly blobs: Digest[];
  readonly actions: ActionLog[];
}

export function cyclePassed(report: CycleReport): boolean {
  return report.lost.length + report.torn.length + report.inconsistent.length + report.faults.length === 0;
}

/**
 * Uploads with many writers, kills the server with SIGKILL at a random moment, starts it again on what is left and
 * checks that every acknowledged blob and action result is whole (I9); again and again on the same directory, at the
 * end of which all blobs of all cycles are read.
 */
export async function runCrashCycles(options: CrashOptions): Promise<CycleReport[]> {
  const reports: CycleReport[] = [];
  for (let first = 0; first < options.cycles; first += CYCLES_PER_DIRECTORY) {
    await using directory = await makeTemporaryDirectory("crash");
    const last = Math.min(first + CYCLES_PER_DIRECTORY, options.cycles) - 1;
    const ledger: Ledger = { blobs: [], actions: [] };
    let server = await ServerProcess.start({ directory: directory.path, maxSize: MAX_SIZE });
    try {
      for (let cycle = first; cycle <= last; cycle++) {
        const random = seededRandom(`${options.seed}/${cycle}`);
        const { logs, killedAfterMs } = await uploadAndKill(server, options, cycle, random);
        const startedAt = performance.now();
        server = await restart(directory.path, random);
        const restartMs = performance.now() - startedAt;
        const result = await verifyCycle(server, logs, ledger, cycle === last, random);
        const faults = logs.flatMap((log) => log.faults);
        const report = { cycle, killedAfterMs, restartMs, faults, ...countUploads(logs), ...result };
        reports.push(report);
        options.report?.(report);
      }
      await server.stop();
    } finally {
      await server.kill();
    }
  }
  return reports;
}

function countUploads(logs: readonly WriterLog[]): { acknowledgedBlobs: number; unansweredBlobs: number } {
  return {
    acknowledgedBlobs: logs.reduce((sum, log) => sum + log.acknowledged.length, 0),
    unansweredBlobs: logs.reduce((sum, log) => sum + log.unanswered.length, 0),
  };
}

async function uploadAndKill(
  server: ServerProcess,
  options: CrashOptions,
  cycle: number,
  random: SeededRandom,
): Promise<{ logs: WriterLog[]; killedAfterMs: number }> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  let killed = false;
  const writers = Array.from({ length: options.writers }, (_, writer) =>
    writeUntilKilled(clients.at(writer), { cycle: `${options.seed}/${cycle}`, writer }, () => killed),
  );
  const killedAfterMs = random.int(KILLED_AFTER_MS.min, KILLED_AFTER_MS.max);
  // The moment is the point of this test, not a wait for something.
  await new Promise((resolve) => setTimeout(resolve, killedAfterMs));
  killed = true;
  await server.kill();
  return { logs: await Promise.all(writers), killedAfterMs };
}

/** Now and then the server is killed once more while it recovers. */
async function restart(directory: string, random: SeededRandom): Promise<ServerProcess> {
  if (random.int(0, 4) === 0) {
    await ServerProcess.startAndKill({ directory, maxSize: MAX_SIZE }, random.int(50, 500));
  }
  return await ServerProcess.start({ directory, maxSize: MAX_SIZE });
}

async function verifyCycle(
  server: ServerProcess,
  logs: readonly WriterLog[],
  ledger: Ledger,
  everything: boolean,
  random: SeededRandom,
): Promise<VerificationResult> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  const sample =
    ledger.blobs.length === 0 ? [] : Array.from({ length: OLDER_BLOBS_SAMPLED }, () => random.pick(ledger.blobs));
  const acknowledged = logs.flatMap((log) => log.acknowledged);
  const actions = logs.flatMap((log) => log.actions);
  // One that another writer got acknowledged is held to that.
  const acknowledgedHashes = new Set(acknowledged.map((digest) => digest.hash));
  const unanswered = logs.flatMap((log) => log.unanswered.filter((digest) => !acknowledgedHashes.has(digest.hash)));
  await verifyBlobs(clients, acknowledged, true, result);
  await verifyBlobs(clients, everything ? ledger.blobs : sample, true, result);
  await verifyBlobs(clients, unanswered, false, result);
  await verifyActions(clients, everything ? [...ledger.actions, ...actions] : actions, result);
  ledger.blobs.push(...acknowledged);
  ledger.actions.push(...actions);
  return result;
}
