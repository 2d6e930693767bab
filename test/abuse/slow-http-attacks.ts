/** slowhttptest against the HTTP port. It says itself whether the service is available: it asks with a connection of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { comesTrue, type Findings, metricSum } from "../crash/scenario.ts";
import { SLOW_PER_IDLE } from "../../src/upload-deadline.ts";
import type { RequiredProgram } from "../support/debian-packages.ts";
import type { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { AttackProgress } from "./attack-worker.ts";
import { GRACE_MS, type AttackPlan, type AttackTarget } from "./attack-plan.ts";
import {
  AT_ONCE_MS,
  HTTP_HEADERS_TIMEOUT_MS,
  LARGE_BLOB_PATH,
  SMALL_BLOB_PATH,
  SERVER_TIMEOUTS_MS,
} from "./attacks.ts";

export const SLOW_HTTP_PROGRAM: RequiredProgram = { program: "slowhttptest", packages: ["slowhttptest"] };

const CONNECTIONS = 500;
/** With which it asks whether the service is available. */
const PROBE_CONNECTIONS = 1;
const PROBE_TIMEOUT_SECONDS = 10;
const POLLS_PER_DEADLINE = 10;
const ABSENT_BLOB_PATH = `/cas/${"0".repeat(64)}`;

interface SlowHttpAttack {
  readonly name: string;
  readonly path: string;
  readonly deadlineMs: number;
  readonly options: readonly string[];
}

const { uploadIdle, downloadIdle } = SERVER_TIMEOUTS_MS;

const ATTACKS: readonly SlowHttpAttack[] = [
  { name: "slow headers", path: "/status", deadlineMs: HTTP_HEADERS_TIMEOUT_MS, options: ["-H", "-i", "2"] },
  {
    name: "slow bodies",
    path: ABSENT_BLOB_PATH,
    deadlineMs: uploadIdle,
    // Less often than the deadline allows.
    options: ["-B", "-t", "PUT", "-s", "65536", "-i", `${(3 * uploadIdle) / 1000}`],
  },
  {
    name: "bodies of some bytes now and then",
    path: ABSENT_BLOB_PATH,
    deadlineMs: SLOW_PER_IDLE * uploadIdle,
    options: ["-B", "-t", "PUT", "-s", "65536", "-x", "10", "-i", "2"],
  },
  {
    name: "slow reading",
    path: LARGE_BLOB_PATH,
    deadlineMs: downloadIdle,
    options: ["-X", "-w", "512", "-y", "1024", "-n", "5", "-z", "32"],
  },
  { name: "many ranges", path: SMALL_BLOB_PATH, deadlineMs: AT_ONCE_MS, options: ["-R", "-t", "GET"] },
];

export const SLOW_HTTP_ATTACKS: readonly AttackPlan[] = ATTACKS.map((attack) => ({
  name: `slowhttptest: ${attack.name}`,
  attackerCount: CONNECTIONS,
  deadlineMs: attack.deadlineMs,
  carryOut: (target, findings) => carryOut(attack, target, findings),
}));

/** That its connections are gone is seen at the server: it does not notice of those that it hardly reads from. */
async function carryOut(
  { path, options, deadlineMs }: SlowHttpAttack,
  { server, openCount, begin }: AttackTarget,
  findings: Findings,
): Promise<AttackProgress> {
  await using directory = await makeTemporaryDirectory("slowhttptest");
  const report = join(directory.path, "report");
  const acceptedBefore = await acceptedCount(server);
  const bounds = ["-c", `${CONNECTIONS}`, "-r", `${CONNECTIONS}`, "-p", `${PROBE_TIMEOUT_SECONDS}`, "-l", "600"];
  await begin();
  const child = spawn(
    "nice",
    ["-n", "19", "slowhttptest", ...options, ...bounds, "-g", "-o", report, "-u", `http://${server.endpoint}${path}`],
    { stdio: "ignore" },
  );
  const exited = once(child, "exit");
  const kill = (): void => void child.kill("SIGKILL");
  process.once("exit", kill);
  try {
    const areOpened = await comesTrue(async () => (await acceptedCount(server)) - acceptedBefore >= CONNECTIONS);
    findings.expect(areOpened, "slowhttptest did not open its connections");
    const openedAtMs = performance.now();
    const leftCount = (): number => Math.max(0, openCount() - PROBE_CONNECTIONS);
    while (leftCount() > 0 && performance.now() - openedAtMs < deadlineMs + GRACE_MS) {
      await new Promise((resolve) => setTimeout(resolve, deadlineMs / POLLS_PER_DEADLINE));
    }
    return { cutOffCount: CONNECTIONS - leftCount(), elapsedMs: performance.now() - openedAtMs };
  } finally {
    // It writes its report then.
    child.kill("SIGINT");
    await exited;
    process.removeListener("exit", kill);
    const unavailable = secondsUnavailable(readFileSync(`${report}.csv`, "utf8"));
    findings.expect(unavailable === 0, `slowhttptest: not available for ${unavailable} s`);
  }
}

function acceptedCount(server: ServerProcess): Promise<number> {
  return metricSum(server, "kura_connections_accepted_total");
}

/** @param csv with a line for each second; its last column is 0 where the service was not available. */
function secondsUnavailable(csv: string): number {
  const [heading = "", ...lines] = csv.trim().split("\n");
  if (!heading.endsWith("Service Available") || lines.length === 0) throw new Error(`not a report: ${csv}`);
  return lines.filter((line) => line.endsWith(",0")).length;
}
