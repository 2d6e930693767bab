import { CacheClients, digestOf } from "../support/cache-client.ts";
import type { SeededRandom } from "../support/seeded-random.ts";
import type { ServerProcess } from "../support/server-process.ts";
import type { CaseReport } from "./crash-suite.ts";
import { emptyVerification, problemsOf, verifyUploads } from "./crash-verification.ts";
import type { UploadLog } from "./crash-workload.ts";

const CONNECTIONS = 4;
const LANES = 8;
const POLL_INTERVAL_MS = 50;
const PATIENCE_MS = 30_000;

/** Collects what is wrong in one case of a suite; a case that throws has failed, too. */
export class Findings {
  readonly problems: string[] = [];

  expect(holds: boolean, problem: string): void {
    if (!holds) this.problems.push(problem);
  }
}

export async function scenario(
  name: string,
  run: (findings: Findings) => Promise<readonly (number | string)[]>,
  columnCount: number,
): Promise<CaseReport> {
  const findings = new Findings();
  let figures: readonly (number | string)[] = [];
  try {
    figures = await run(findings);
  } catch (error) {
    findings.problems.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  const padding = Array.from({ length: Math.max(0, columnCount - figures.length) }, () => "");
  return { name, figures: [...figures, ...padding], problems: findings.problems };
}

export interface UploadResult {
  /** Refusals by gRPC status code. */
  readonly refusals: ReadonlyMap<number, number>;
  readonly refusedCount: number;
}

/** Uploads random blobs of these sizes in a few lanes; refusals are counted, not thrown. */
export async function upload(
  server: ServerProcess,
  random: SeededRandom,
  sizes: readonly number[],
  log: UploadLog,
): Promise<UploadResult> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  return await uploadBy(clients, random, sizes, log);
}

/** The same over connections that are there already. */
export async function uploadBy(
  clients: CacheClients,
  random: SeededRandom,
  sizes: readonly number[],
  log: UploadLog,
): Promise<UploadResult> {
  const queue = sizes.values();
  const refusals = new Map<number, number>();
  const lane = async (number: number): Promise<void> => {
    for (const sizeBytes of queue) {
      const content = random.bytes(sizeBytes);
      const digest = digestOf(content);
      try {
        await clients.at(number).write(content, { digest });
        log.acknowledged.push(digest);
      } catch (error) {
        const code = error instanceof Error && "code" in error && typeof error.code === "number" ? error.code : -1;
        refusals.set(code, (refusals.get(code) ?? 0) + 1);
        log.unanswered.push(digest);
      }
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, number) => lane(number)));
  return { refusals, refusedCount: [...refusals.values()].reduce((sum, count) => sum + count, 0) };
}

/** Reads everything back. @returns how many blobs were read. */
export async function readBack(server: ServerProcess, log: UploadLog, findings: Findings): Promise<number> {
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const result = emptyVerification();
  await verifyUploads(clients, log, result);
  findings.problems.push(...problemsOf(result));
  return result.blobsVerified;
}

/** Asks again and again. @returns false where it does not come true in 30 s. */
export async function comesTrue(condition: () => Promise<boolean>): Promise<boolean> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL_MS));
  }
  return true;
}

/** HTTP status of a path such as `/readyz`. */
export async function httpStatus(server: ServerProcess, path: string): Promise<number> {
  const response = await fetch(`http://${server.endpoint}${path}`);
  await response.arrayBuffer();
  return response.status;
}

/** The sum of a metric over its labels. */
export async function metricSum(server: ServerProcess, name: string): Promise<number> {
  // Of whoever counts connections it is not to be one.
  const response = await fetch(`http://${server.endpoint}/metrics`, { headers: { connection: "close" } });
  const lines = (await response.text())
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
  return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" ") + 1)), 0);
}
