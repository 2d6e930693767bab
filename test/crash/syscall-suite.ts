import { join } from "node:path";
import { CacheClients, digestOf } from "../support/cache-client.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { type ProcessEnd, ServerProcess, type ServerProcessOptions } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { CaseReport, CrashSuite } from "./crash-suite.ts";
import { emptyVerification, problemsOf, verifyUploads } from "./crash-verification.ts";
import type { UploadLog } from "./crash-workload.ts";
import { directoryProblems } from "./directory-check.ts";
import { comesTrue, httpStatus } from "./scenario.ts";
import {
  callCounts,
  injectedCount,
  type Injection,
  ONE_POOL_THREAD,
  STRACE,
  straceCommand,
  WRITE_PATH_CALLS,
} from "./strace.ts";
import { largeBlobs, retirement, smallBlobs, type SyscallWorkload } from "./syscall-workloads.ts";

/** One run of a workload with something done to one system call. */
interface CrashPoint {
  readonly workload: SyscallWorkload;
  readonly injections: readonly Injection[];
  readonly name: string;
}

const CONNECTIONS = 4;
/** More failed syncs in a row than a shard puts up with. */
const UPLOADS_TO_A_DEAD_DISK = 4;

/**
 * SIGKILL before every system call of the write path, one run each, and the same calls failing with EIO and ENOSPC.
 *
 * A write that strace pretends to have been short or done (`retval=`) is not among them: nothing would have been
 * written, and no program can tell a kernel that lies. Honest short writes are made by a file size limit and by a
 * full tmpfs (disk-full-suite.ts), lost ones by a power cut (power-suite.ts).
 */
export const syscallSuite: CrashSuite = {
  title: "syscalls: killed before, and failed at, every system call that writes",
  columns: ["injected", "acked", "refused", "whole", "ended", "restart ms", "read back"],
  programs: [STRACE],
  mounts: false,
  cycles: { short: 30, long: Number.POSITIVE_INFINITY },
  async *run({ cycles, seed }) {
    await using scratch = await makeTemporaryDirectory("syscalls");
    const workloads = [smallBlobs(seed), largeBlobs(seed), retirement(seed, join(scratch.path, "template"))];
    const groups: CrashPoint[][] = [];
    for (const workload of workloads) {
      const { report, counts } = await dryRun(workload, scratch.path);
      yield report;
      groups.push(...crashPoints(workload, counts));
    }
    let fired = 0;
    let number = 0;
    const points = chosen(groups, cycles, seededRandom(`${seed}/points`));
    for (const point of points) {
      number++;
      const report = await runPoint(point, join(scratch.path, `${number}`));
      if (report.figures[0] !== 0) fired++;
      yield report;
    }
    // A point behind the last call of a run hits nothing; groups of uploads differ a little from run to run.
    const problems = fired * 10 >= points.length * 9 ? [] : [`only ${fired} of ${points.length} points were reached`];
    yield { name: "points that were reached", figures: [fired, "", "", "", "", "", ""], problems };
  },
};

/** Counts the calls of an undisturbed run, which has to pass as well. */
async function dryRun(
  workload: SyscallWorkload,
  scratch: string,
): Promise<{ report: CaseReport; counts: ReturnType<typeof callCounts> }> {
  const directory = join(scratch, `dry-${workload.name}`);
  const report = await runPoint({ workload, injections: [], name: `${workload.name}, undisturbed` }, directory);
  const counts = callCounts(logOf(directory));
  const text = Array.from(counts, ([call, count]) => `${call} ${count}`).join(", ");
  return { report: { ...report, name: `${report.name}: ${text}` }, counts };
}

/** Every point, in groups of one workload, call and effect. */
function crashPoints(workload: SyscallWorkload, counts: ReadonlyMap<string, number>): CrashPoint[][] {
  const groups: CrashPoint[][] = [];
  const addGroup = (count: number, effect: string, injections: (nth: number) => Injection[]): void => {
    const points = Array.from({ length: count }, (_, position) => {
      const injected = injections(position + 1);
      const what = injected.map(({ call, nth, onwards }) => `${call} ${nth}${onwards === true ? "+" : ""}`).join(" & ");
      return { workload, injections: injected, name: `${workload.name}: ${effect} at ${what}` };
    });
    groups.push(points);
  };
  for (const call of WRITE_PATH_CALLS) {
    const count = counts.get(call) ?? 0;
    addGroup(count, "killed", (nth) => [{ call, nth, effect: "signal=SIGKILL" }]);
    addGroup(count, "EIO", (nth) => [{ call, nth, effect: "error=EIO" }]);
    if (call.startsWith("pwrite")) addGroup(count, "ENOSPC", (nth) => [{ call, nth, effect: "error=ENOSPC" }]);
    if (call === "fdatasync" || call.startsWith("pwrite"))
      addGroup(count, "EIO", (nth) => [{ call, nth, onwards: true, effect: "error=EIO" }]);
  }
  // The cut after a failed append fails as well.
  addGroup(counts.get("pwritev") ?? 0, "ENOSPC", (nth) => [
    { call: "pwritev", nth, effect: "error=ENOSPC" },
    { call: "ftruncate", nth: 1, onwards: true, effect: "error=EIO" },
  ]);
  return groups.filter((points) => points.length > 0);
}

/** All of them, or `count` drawn one from each group in turn. */
function chosen(groups: CrashPoint[][], count: number, random: SeededRandom): CrashPoint[] {
  if (!Number.isFinite(count)) return groups.flat();
  const points: CrashPoint[] = [];
  let left = groups.map((group) => [...group]).toSorted(() => random.fraction() - 0.5);
  while (points.length < count && left.length > 0) {
    for (const group of left.slice(0, count - points.length)) {
      points.push(...group.splice(random.int(0, group.length - 1), 1));
    }
    left = left.filter((group) => group.length > 0);
  }
  return points;
}

function logOf(directory: string): string {
  return `${directory}.strace`;
}

async function runPoint({ workload, injections, name }: CrashPoint, directory: string): Promise<CaseReport> {
  const log = await workload.prepare(directory);
  const { maxSize, extraArguments } = workload;
  const options: ServerProcessOptions = { directory, maxSize, extraArguments };
  const problems: string[] = [];
  const { end, killedByStrace } = await runInjected(workload, injections, options, log, problems);
  const startedAt = performance.now();
  await using server = await ServerProcess.start(options);
  const restartMs = performance.now() - startedAt;
  problems.push(...(await directoryProblems(directory, server.endpoint)), ...log.faults);
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  await verifyUploads(clients, log, result);
  problems.push(...problemsOf(result));
  const sent = [log.acknowledged.length + log.evictable.length, log.unanswered.length, result.unansweredButWhole];
  const hits = injectedCount(logOf(directory)) + (killedByStrace ? 1 : 0);
  const ended = killedByStrace ? "killed" : end.signal === "SIGKILL" ? "at the end" : `exit ${end.exitCode}`;
  return {
    name,
    figures: [hits, ...sent, ended, restartMs, result.blobsVerified],
    problems,
  };
}

/** Runs the workload under strace until the server is gone. */
async function runInjected(
  workload: SyscallWorkload,
  injections: readonly Injection[],
  options: ServerProcessOptions,
  log: UploadLog,
  problems: string[],
): Promise<{ end: ProcessEnd; killedByStrace: boolean }> {
  const wrapper = straceCommand(logOf(options.directory), injections);
  const server = ServerProcess.launch({ ...options, wrapper, environment: ONE_POOL_THREAD });
  const kills = injections.some(({ effect }) => effect === "signal=SIGKILL");
  try {
    await server.untilListening();
    await workload.drive(server, log);
    // Uploads see the end of the connection before this process hears of the end of its child.
    if (kills && log.unanswered.length > 0) await server.ended();
    if (server.running && !kills && injections.length > 0) {
      problems.push(...(await survivalProblems(server, injections, log)));
    }
    if (workload.drains && server.running) await server.stop();
  } catch (error) {
    // It may be killed at any moment, and refuse to start on a disk that fails then; but it must say so.
    const { exitCode, signal, output } = await server.ended();
    const refused = exitCode === 1 && /^kura: .+$/m.test(output);
    if (!refused && !(kills && signal === "SIGKILL")) problems.push(`ENDED ${String(error)}`);
  }
  const killedByStrace = kills && !server.running;
  await server.kill();
  return { end: await server.ended(), killedByStrace };
}

/** A server whose disk failed lives, reads, and writes again unless the failure goes on. */
async function survivalProblems(
  server: ServerProcess,
  injections: readonly Injection[],
  log: UploadLog,
): Promise<string[]> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  await verifyUploads(clients, log, result);
  const problems = problemsOf(result).map((problem) => `before the restart: ${problem}`);
  if (injections.some(({ onwards }) => onwards === true)) {
    // One that was refused shows that the failures have begun.
    const [first] = injections;
    const begun = log.unanswered.length > 0;
    if (begun && first?.call === "fdatasync") problems.push(...(await deadDiskProblems(server, clients, log)));
    return problems;
  }
  // A fault that the uploads did not reach hits the next one; there is no second.
  if (!(await uploadOnce(clients, log, "first")) && !(await uploadOnce(clients, log, "second")))
    problems.push("STUCK: two uploads after the fault failed");
  return problems;
}

async function uploadOnce(clients: CacheClients, log: UploadLog, name: string): Promise<boolean> {
  const content = Buffer.from(`${name} after the fault`);
  const digest = digestOf(content);
  const stored = await clients
    .at(0)
    .write(content, { digest })
    .then(
      () => true,
      () => false,
    );
  (stored ? log.acknowledged : log.unanswered).push(digest);
  return stored;
}

/** Where every sync fails, nothing is acknowledged, and before long the server says so (H5). */
async function deadDiskProblems(server: ServerProcess, clients: CacheClients, log: UploadLog): Promise<string[]> {
  const problems: string[] = [];
  for (let attempt = 0; attempt < UPLOADS_TO_A_DEAD_DISK; attempt++) {
    if (await uploadOnce(clients, log, `number ${attempt}`))
      problems.push("FALSE acknowledgement although every sync fails");
  }
  const isReadOnly = async (): Promise<boolean> => (await httpStatus(server, "/readyz")) === 503;
  if (!(await comesTrue(isReadOnly))) problems.push("/readyz is not 503 although every sync fails");
  return problems;
}
