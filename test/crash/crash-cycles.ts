import { status } from "@grpc/grpc-js";
import { CacheClients } from "../support/cache-client.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { ServerProcess, type ServerProcessOptions } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { emptyVerification, problemsOf, type VerificationResult, verifyUploads } from "./crash-verification.ts";
import { UploadLog, writeUntilKilled } from "./crash-workload.ts";
import { directoryProblems } from "./directory-check.ts";

export interface CrashOptions {
  readonly cycles: number;
  readonly writers: number;
  readonly seed: string;
  /** Default 1. */
  readonly listeners?: number;
  /** How the server is ended. Default: SIGKILL. */
  readonly end?: "kill" | "stop";
}

export interface CycleReport {
  readonly cycle: number;
  readonly uploads: UploadLog;
  readonly killedAfterMs: number;
  /** From the start of the process to its listening line, with recovery. */
  readonly restartMs: number;
  readonly verified: VerificationResult;
  readonly problems: string[];
}

/** A directory is left behind after so many cycles, so that a long run needs a bounded disk. */
const CYCLES_PER_DIRECTORY = 25;
const CONNECTIONS = 8;
const OLDER_BLOBS_SAMPLED = 40;
/** Far above what the cycles of one directory upload: a blob that is gone was lost, not evicted. */
const MAX_SIZE = "64GiB";
const KILLED_AFTER_MS = { min: 20, max: 500 };
/** One a directory: with small segments many are sealed, and blobs above 1 MiB become segments of their own. */
const SEGMENT_SIZES = ["auto", "1MiB", "4MiB"];

/**
 * Uploads with many writers, ends the server with SIGKILL or SIGTERM at a random moment, starts it again on what is left and
 * checks that every acknowledged blob and action result is whole (I9); again and again on the same directory, at the
 * end of which all blobs of all cycles are read.
 */
export async function* crashCycles(options: CrashOptions): AsyncGenerator<CycleReport> {
  for (let first = 0; first < options.cycles; first += CYCLES_PER_DIRECTORY) {
    await using directory = await makeTemporaryDirectory("crash");
    const last = Math.min(first + CYCLES_PER_DIRECTORY, options.cycles) - 1;
    const older = new UploadLog();
    const segmentSize = SEGMENT_SIZES[(first / CYCLES_PER_DIRECTORY) % SEGMENT_SIZES.length] ?? "auto";
    const extraArguments = ["--segment-size", segmentSize, "--listeners", `${options.listeners ?? 1}`];
    const serverOptions = { directory: directory.path, maxSize: MAX_SIZE, extraArguments };
    let server = await ServerProcess.start(serverOptions);
    try {
      for (let cycle = first; cycle <= last; cycle++) {
        const random = seededRandom(`${options.seed}/${cycle}`);
        const { uploads, killedAfterMs } = await uploadAndKill(server, options, cycle, random);
        const startedAt = performance.now();
        server =
          options.end === "stop" ? await ServerProcess.start(serverOptions) : await restart(serverOptions, random);
        const restartMs = performance.now() - startedAt;
        const left = await directoryProblems(directory.path, server.endpoint);
        const verified = await verifyCycle(server, uploads, cycle === last ? older : sampleOf(older, random));
        older.add(uploads);
        const problems = [...uploads.faults, ...left, ...problemsOf(verified)];
        yield { cycle, uploads, killedAfterMs, restartMs, verified, problems };
      }
      await server.stop();
    } finally {
      await server.kill();
    }
  }
}

async function uploadAndKill(
  server: ServerProcess,
  options: CrashOptions,
  cycle: number,
  random: SeededRandom,
): Promise<{ uploads: UploadLog; killedAfterMs: number }> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  let killed = false;
  const writers = Array.from({ length: options.writers }, (_, writer) =>
    writeUntilKilled(
      clients.at(writer),
      { cycle: `${options.seed}/${cycle}`, writer },
      { killed: () => killed, ...(options.end === "stop" ? { refusalCode: status.UNAVAILABLE } : {}) },
    ),
  );
  const killedAfterMs = random.int(KILLED_AFTER_MS.min, KILLED_AFTER_MS.max);
  // The moment is the point of this test, not a wait for something.
  await new Promise((resolve) => setTimeout(resolve, killedAfterMs));
  killed = true;
  if (options.end === "stop") await server.stop();
  else await server.kill();
  return { uploads: UploadLog.joined(await Promise.all(writers)), killedAfterMs };
}

/** Now and then the server is killed once more while it recovers. */
async function restart(options: ServerProcessOptions, random: SeededRandom): Promise<ServerProcess> {
  if (random.int(0, 4) === 0) await ServerProcess.startAndKill(options, random.int(50, 500));
  return await ServerProcess.start(options);
}

/** Some of the blobs of earlier cycles: all of them are read at the end. */
function sampleOf({ acknowledged }: UploadLog, random: SeededRandom): UploadLog {
  const sample = new UploadLog();
  const count = acknowledged.length === 0 ? 0 : OLDER_BLOBS_SAMPLED;
  sample.acknowledged.push(...Array.from({ length: count }, () => random.pick(acknowledged)));
  return sample;
}

async function verifyCycle(server: ServerProcess, uploads: UploadLog, older: UploadLog): Promise<VerificationResult> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  await verifyUploads(clients, older, result);
  await verifyUploads(clients, uploads, result);
  return result;
}
