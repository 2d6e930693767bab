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

/** Attacks a server of its own while a client does its work there. @returns the figures of {@link ATTACK_COLUMNS}. */
export async function runAttack(attack: AttackPlan, seed: string, findings: Findings): Promise<(number | string)[]> {
  await using directory = await makeTemporaryDirectory("abuse");
  await using server = await ServerProcess.start({
    directory: directory.path,
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
  const calmMs = Math.max(CALM_MS_MIN, attack.deadlineMs * CALM_PER_DEADLINE);
  const { rssPeakMib: calmMib } = await watched(server.pid, new Promise((resolve) => setTimeout(resolve, calmMs)));
  const calm = await good.takeFigures();
  const begin = async (): Promise<void> => void (await good.takeFigures());
  const socketsBefore = socketCount(server.pid);

  const openCount = (): number => socketCount(server.pid) - socketsBefore;
  const attacking = attack.carryOut({ server, seed, openCount, begin }, findings);
  const { rssPeakMib, value: progress } = await watched(server.pid, attacking);
  // Until when it has to be over, so that there are calls enough for a 99th percentile.
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, attack.deadlineMs - progress.elapsedMs)));
  const during = await good.takeFigures();

  const growthMib = rssPeakMib - calmMib;
  findings.problems.push(...new Set([...calm.faults, ...during.faults]));
  findings.expect(during.callCount > 0, "the good client got no answer");
  findings.expect(
    progress.cutOffCount === attack.attackerCount,
    `${attack.attackerCount - progress.cutOffCount} attackers were not cut off`,
  );
  findings.expect(growthMib <= RSS_GROWTH_MIB_MAX, `RSS grew by ${growthMib.toFixed(0)} MiB`);
  const areGone = await comesTrue(() => Promise.resolve(openCount() <= 0));
  findings.expect(areGone, `${openCount()} sockets are left`);
  await good[Symbol.asyncDispose]();
  await server.stop();
  return [
    progress.cutOffCount,
    progress.elapsedMs,
    attack.deadlineMs,
    growthMib.toFixed(1),
    calm.p99Ms.toFixed(1),
    during.p99Ms.toFixed(1),
    (during.p99Ms / calm.p99Ms).toFixed(2),
    during.slowestMs.toFixed(1),
  ];
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
