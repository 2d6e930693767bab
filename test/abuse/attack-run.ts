import "../../src/engine-flags.ts";
import { once } from "node:events";
import { readdirSync, readlinkSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { ProcessMeter } from "../../bench/process-meter.ts";
import { comesTrue, type Findings } from "../crash/scenario.ts";
import { CacheClient, digestOf } from "../support/cache-client.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { AttackOrder, AttackProgress } from "./attack-worker.ts";
import { type AttackPlan, type AttackTarget, GRACE_MS } from "./attack-plan.ts";
import { type Attack, ATTACKS, LARGE_BLOB, SERVER_TIMEOUTS_MS, SMALL_BLOB } from "./attacks.ts";
import { GoodClient } from "./good-client.ts";
import { WatchedClient } from "./watched-client.ts";

export const ATTACK_COLUMNS = [
  "cut off",
  "after ms",
  "deadline",
  "RSS +MiB",
  "p99 calm",
  "p99 then",
  "ratio",
  "slowest",
];

export interface AttackRunOptions {
  readonly seed: string;
  readonly rounds: number;
}

const RSS_GROWTH_MIB_MAX = 64;
/** What the server is like when nobody attacks it: for a while, and for longer where the attack takes minutes. */
const CALM_MS_MIN = 3000;
const CALM_PER_DEADLINE = 1 / 3;
const WARM_MS = 3000;
/** Clients before anything is measured. */
const WARM_CLIENTS = 8;
/** Uploads that together take 32 MiB. */
const FILLING_COUNT = 512;
const FILLING_BYTES = 64 * 1024;
const WORKER = new URL("attack-worker.ts", import.meta.url);

/**
 * Attacks a server of its own while a client does its work there: so many rounds, each a while of calm and then the attack.
 * @returns the figures of {@link ATTACK_COLUMNS}.
 */
export async function runAttack(
  attack: AttackPlan,
  { seed, rounds }: AttackRunOptions,
  findings: Findings,
): Promise<(number | string)[]> {
  await using directory = await makeTemporaryDirectory("abuse");
  await using server = await ServerProcess.start({
    directory: directory.path,
    // The index has a place for each entry that may be, and touches another page for most that come.
    maxSize: "1GiB",
    extraArguments: [
      // What the good client fills by itself is not to be taken for what the attackers cost.
      "--hot-blob-memory=4MiB",
      "--staging-memory=32MiB",
      `--upload-idle-timeout=${SERVER_TIMEOUTS_MS.uploadIdle}ms`,
      `--download-idle-timeout=${SERVER_TIMEOUTS_MS.downloadIdle}ms`,
    ],
  });
  await storeBlobs(server.endpoint);
  await fillStaging(server.endpoint, seededRandom(`${seed}/warm`));
  await warmUp(server.endpoint, seed);
  await using good = new WatchedClient(server.endpoint, seed);
  const done: AttackRound[] = [];
  for (let round = 0; round < rounds; round++) {
    done.push(await attackOnce(attack, { server, seed: `${seed}/${round}`, good, findings }));
  }
  await good[Symbol.asyncDispose]();
  await server.stop();
  const [calm, during] = [done.flatMap(({ calmMs }) => calmMs), done.flatMap(({ duringMs }) => duringMs)];
  const [p99CalmMs, p99DuringMs] = [quantile(calm, 0.99), quantile(during, 0.99)];
  return [
    Math.min(...done.map(({ progress }) => progress.cutOffCount)),
    Math.max(...done.map(({ progress }) => progress.elapsedMs)),
    attack.deadlineMs,
    Math.max(...done.map(({ growthMib }) => growthMib)).toFixed(1),
    p99CalmMs.toFixed(1),
    p99DuringMs.toFixed(1),
    (p99DuringMs / p99CalmMs).toFixed(2),
    quantile(during, 1).toFixed(1),
  ];
}

interface Besieged {
  readonly server: ServerProcess;
  readonly seed: string;
  readonly good: WatchedClient;
  readonly findings: Findings;
}

/** What one round has shown: durations of the good client's calls, and by how much the server grew. */
interface AttackRound {
  readonly progress: AttackProgress;
  readonly calmMs: readonly number[];
  readonly duringMs: readonly number[];
  readonly growthMib: number;
}

async function attackOnce(attack: AttackPlan, { server, seed, good, findings }: Besieged): Promise<AttackRound> {
  await good.takeFigures();
  const lookingMs = Math.max(CALM_MS_MIN, attack.deadlineMs * CALM_PER_DEADLINE);
  const { rssPeakMib: calmMib } = await watched(server.pid, new Promise((resolve) => setTimeout(resolve, lookingMs)));
  const calm = await good.takeFigures();
  const begin = async (): Promise<void> => void (await good.takeFigures());
  const socketsBefore = socketCount(server.pid);

  const openCount = (): number => socketCount(server.pid) - socketsBefore;
  const attacking = attack.carryOut({ server, seed, openCount, begin }, findings);
  const { rssPeakMib, value: progress } = await watched(server.pid, attacking);
  // Until when it has to be over, so that there are calls enough for a 99th percentile.
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, attack.deadlineMs - progress.elapsedMs)));
  const during = await good.takeFigures();

  findings.problems.push(...new Set([...calm.faults, ...during.faults]));
  findings.expect(during.durationsMs.length > 0, "the good client got no answer");
  findings.expect(
    progress.cutOffCount === attack.attackerCount,
    `${attack.attackerCount - progress.cutOffCount} attackers were not cut off`,
  );
  const growthMib = rssPeakMib - calmMib;
  findings.expect(growthMib <= RSS_GROWTH_MIB_MAX, `RSS grew by ${growthMib.toFixed(0)} MiB`);
  const areGone = await comesTrue(() => Promise.resolve(openCount() <= 0));
  findings.expect(areGone, `${openCount()} sockets are left`);
  return { progress, calmMs: calm.durationsMs, duringMs: during.durationsMs, growthMib };
}

function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil(sorted.length * part) - 1] ?? Number.NaN;
}

export const FRAME_ATTACKS: readonly AttackPlan[] = ATTACKS.map((attack) => {
  const { name, attackerCount, deadlineMs } = attack;
  return { name, attackerCount, deadlineMs, carryOut: (target) => carryOutInThread(attack, target) };
});

async function carryOutInThread(attack: Attack, { server, seed, begin }: AttackTarget): Promise<AttackProgress> {
  const order: AttackOrder = { attackName: attack.name, port: Number(server.endpoint.split(":")[1]), seed };
  const worker = new Worker(WORKER, { workerData: order });
  await once(worker, "message");
  await begin();
  worker.postMessage("go");
  const progress = await untilCutOff(worker, attack);
  await worker.terminate();
  return progress;
}

/** Resolves when all attackers are cut off, or when it has taken much too long. */
function untilCutOff(worker: Worker, { attackerCount, deadlineMs }: Attack): Promise<AttackProgress> {
  const { promise, resolve, reject } = Promise.withResolvers<AttackProgress>();
  let progress: AttackProgress = { cutOffCount: 0, elapsedMs: 0 };
  const timer = setTimeout(() => resolve(progress), deadlineMs + GRACE_MS);
  worker.on("message", (message: AttackProgress) => {
    progress = message;
    if (progress.cutOffCount === attackerCount) resolve(progress);
  });
  worker.once("error", reject);
  return promise.finally(() => clearTimeout(timer));
}

async function watched<Value>(pid: number, done: Promise<Value>): Promise<{ value: Value; rssPeakMib: number }> {
  using meter = new ProcessMeter(pid, 100);
  const value = await done;
  return { value, rssPeakMib: meter.rssPeakMib };
}

async function storeBlobs(endpoint: string): Promise<void> {
  using client = new CacheClient(endpoint);
  for (const blob of [LARGE_BLOB, SMALL_BLOB]) await client.write(blob);
}

/** Uploads that are all under way before any of them goes on: what staging has memory for is used then. */
async function fillStaging(endpoint: string, random: SeededRandom): Promise<void> {
  using client = new CacheClient(endpoint);
  const allBegun = Promise.withResolvers<void>();
  let begunCount = 0;
  async function* halves(blob: Buffer): AsyncGenerator<Buffer> {
    yield blob.subarray(0, FILLING_BYTES / 2);
    if (++begunCount === FILLING_COUNT) allBegun.resolve();
    await allBegun.promise;
    yield blob.subarray(FILLING_BYTES / 2);
  }
  const blobs = Array.from({ length: FILLING_COUNT }, () => random.bytes(FILLING_BYTES));
  await Promise.all(blobs.map((blob) => client.writeChunks(client.uploadName(digestOf(blob)), halves(blob))));
}

/** What many clients that do as they should leave behind: memory that was used, and garbage that was collected. */
async function warmUp(endpoint: string, seed: string): Promise<void> {
  const numbers = Array.from({ length: WARM_CLIENTS }, (_, number) => number);
  const clients = await Promise.all(numbers.map((number) => GoodClient.start(endpoint, `${seed}/warm/${number}`)));
  await new Promise((resolve) => setTimeout(resolve, WARM_MS));
  const faults = clients.flatMap((client) => client.takeFigures().faults);
  for (const client of clients) await client[Symbol.asyncDispose]();
  if (faults.length > 0) throw new Error(`before the attack: ${faults.join("; ")}`);
}

/** Of the process. */
function socketCount(pid: number): number {
  const links = readdirSync(`/proc/${pid}/fd`).map((fd) => linkOf(`/proc/${pid}/fd/${fd}`));
  return links.filter((link) => link.startsWith("socket:")).length;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // It was closed meanwhile.
    return "";
  }
}
