import { connect, type Socket } from "node:net";
import { once } from "node:events";
import { status } from "@grpc/grpc-js";
import type { Digest } from "../../src/cache/digest.ts";
import { CacheClients, digestOf } from "../support/cache-client.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { ServerProcess, type ServerProcessOptions } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { CrashSuite } from "./crash-suite.ts";
import { UploadLog } from "./crash-workload.ts";
import { directoryProblems } from "./directory-check.ts";
import { comesTrue, type Findings, readBack, scenario, upload, uploadBy } from "./scenario.ts";

const KIB = 1024;
const COLUMNS = ["segments", "connections", "refused", "read back"] as const;
const LIMITS = [64, 96, 128] as const;
/** Many more than fit under any of the limits. */
const CONNECTION_COUNT = 300;
const BLOB_COUNT = 400;

/** Few file descriptors, many connections and many segments to read from: H9. */
export const descriptorSuite: CrashSuite = {
  title: "descriptors: few of them, many connections, many segments",
  columns: COLUMNS,
  programs: [{ program: "prlimit", packages: ["util-linux"] }],
  mounts: false,
  cycles: { short: 1, long: 5 },
  async *run({ cycles, seed }) {
    yield await scenario("the smallest limit at which it starts", smallestLimit, COLUMNS.length);
    for (let cycle = 0; cycle < cycles; cycle++) {
      for (const limit of LIMITS) {
        const random = seededRandom(`${seed}/${limit}/${cycle}`);
        yield await scenario(`${limit} descriptors`, (findings) => manyUsers(limit, random, findings), COLUMNS.length);
      }
    }
  },
};

function limited(directory: string, limit: number): ServerProcessOptions {
  return {
    directory,
    wrapper: ["prlimit", `--nofile=${limit}:${limit}`],
    extraArguments: ["--segment-size", "64KiB", "--shards", "2"],
  };
}

/** By halving: where it cannot start it has to say so and exit, not to hang or crash. */
async function smallestLimit(findings: Findings): Promise<string[]> {
  let [refused, started] = [8, LIMITS[0] as number];
  await using directory = await makeTemporaryDirectory("descriptors");
  while (started - refused > 1) {
    const limit = Math.floor((refused + started) / 2);
    const server = ServerProcess.launch({ ...limited(directory.path, limit), startTimeoutMs: 10_000 });
    const listening = await server.untilListening().then(
      () => true,
      () => false,
    );
    if (listening) started = limit;
    else refused = limit;
    await server.kill();
  }
  findings.expect(started <= LIMITS[0], `it does not start with ${LIMITS[0]}`);
  return [`${started}`];
}

async function manyUsers(limit: number, random: SeededRandom, findings: Findings): Promise<number[]> {
  await using directory = await makeTemporaryDirectory("descriptors");
  const log = new UploadLog();
  await using server = await ServerProcess.start(limited(directory.path, limit));
  const sizes = Array.from({ length: BLOB_COUNT }, () => random.int(10 * KIB, 60 * KIB));
  const filled = await upload(server, random, sizes, log);
  expectExcused(filled.refusals, findings);
  using clients = new CacheClients(server.endpoint, 4);
  // Connected before the crowd comes: what they ask for competes with it for descriptors, not for connections.
  for (const number of [0, 1, 2, 3]) await clients.at(number).findMissing([]);
  const crowd = await openConnections(server);
  const written = [...log.acknowledged];
  const [crowded, readsRefused] = await Promise.all([
    uploadBy(clients, random, [...sizes.slice(0, 40), 1.5 * 1024 * KIB], log),
    readUnderPressure(clients, written, findings),
  ]);
  expectExcused(crowded.refusals, findings);
  for (const socket of crowd) socket.destroy();
  findings.expect(server.running, "the server is gone");
  // Whole again once they are gone: every blob is read, uploads of each kind go through.
  const recovered = async (): Promise<boolean> =>
    (await upload(server, random, [100, 30 * KIB, 300 * KIB, 1.5 * 1024 * KIB], log)).refusedCount === 0;
  findings.expect(await comesTrue(recovered), "STUCK: uploads are refused 30 s after the connections were closed");
  const read = await readBack(server, log, findings);
  await server.stop();
  await using restarted = await ServerProcess.start(limited(directory.path, limit));
  findings.problems.push(...(await directoryProblems(directory.path, restarted.endpoint)));
  await readBack(restarted, log, findings);
  return [Math.ceil(BLOB_COUNT / 2), crowd.length, filled.refusedCount + crowded.refusedCount + readsRefused, read];
}

function expectExcused(refusals: ReadonlyMap<number, number>, findings: Findings): void {
  const others = [...refusals.keys()].filter((code) => !EXCUSED.has(code));
  findings.expect(others.length === 0, `refused with ${others.map((code) => status[code] ?? code).join(", ")}`);
}

const EXCUSED = new Set<unknown>([status.UNAVAILABLE, status.RESOURCE_EXHAUSTED]);

/** As many connections as the server takes, and some more; they say nothing. */
async function openConnections(server: ServerProcess): Promise<Socket[]> {
  const [host = "", port = ""] = server.endpoint.split(":");
  return await Promise.all(
    Array.from({ length: CONNECTION_COUNT }, async () => {
      const socket = connect(Number(port), host);
      socket.on("error", () => undefined);
      await Promise.race([once(socket, "connect"), once(socket, "close")]);
      return socket;
    }),
  );
}

/** Reads from all segments at once while descriptors are short. @returns how many reads were refused. */
async function readUnderPressure(
  clients: CacheClients,
  digests: readonly Digest[],
  findings: Findings,
): Promise<number> {
  let refused = 0;
  await Promise.all(
    digests.map(async (digest, number) => {
      try {
        const bytes = await clients.at(number).read(digest);
        findings.expect(digestOf(bytes).hash === digest.hash, `WRONG BYTES served for ${digest.hash}`);
      } catch (error) {
        const code = error instanceof Error && "code" in error ? error.code : undefined;
        findings.expect(EXCUSED.has(code), `a read was answered with ${String(error)}`);
        refused++;
      }
    }),
  );
  return refused;
}
