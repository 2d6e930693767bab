import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { status } from "@grpc/grpc-js";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { CrashSuite } from "./crash-suite.ts";
import { UploadLog } from "./crash-workload.ts";
import { directoryProblems } from "./directory-check.ts";
import { mount, runProgram } from "./mount.ts";
import { comesTrue, type Findings, httpStatus, readBack, scenario, upload } from "./scenario.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const DISK_BYTES = 32 * MIB;
/** Given back one by one; each has room for the largest blob. */
const BALLAST_COUNT = 3;
const BALLAST_BYTES = 6 * MIB;
/** Far more than the disk has: what the server believes must not matter. */
const MAX_SIZE = "1GiB";
const UPLOADS_IN_A_ROUND = 40;
const ROUNDS_TO_FILL_MAX = 40;
const COLUMNS = ["acked", "refused", "resumed", "read back"] as const;

interface FullDiskCase {
  readonly name: string;
  readonly sizes: readonly number[];
}

const CASES: readonly FullDiskCase[] = [
  { name: "small blobs", sizes: [100, 40 * KIB, 100 * KIB, 200 * KIB] },
  { name: "blobs in temp files", sizes: [1.2 * MIB, 1.5 * MIB, 300 * KIB] },
  { name: "blobs that become segments", sizes: [3.5 * MIB, 2.5 * MIB] },
  { name: "everything", sizes: [100, 64 * KIB, 300 * KIB, 1.5 * MIB, 3.5 * MIB] },
];

/** A disk that is full although `--max-size` is not reached: H7. All cases, `cycles` times. */
export const diskFullSuite: CrashSuite = {
  title: "disk-full: reads go on, writes resume when space returns",
  columns: COLUMNS,
  programs: [{ program: "prlimit", packages: ["util-linux"] }],
  mounts: true,
  cycles: { short: 1, long: 10 },
  async *run({ cycles, seed }) {
    for (let cycle = 0; cycle < cycles; cycle++) {
      for (const { name, sizes } of CASES) {
        const random = seededRandom(`${seed}/${name}/${cycle}`);
        const wholeSizes = sizes.map(Math.floor);
        yield await scenario(
          `tmpfs of 32 MiB: ${name}`,
          (findings) => onSmallDisk((mountPoint) => fillAndFree(mountPoint, wholeSizes, random, findings)),
          COLUMNS.length,
        );
      }
      yield await scenario(
        "file size limit: short writes, then EFBIG",
        (findings) => shortWrites(seededRandom(`${seed}/fsize/${cycle}`), findings),
        COLUMNS.length,
      );
    }
  },
};

async function onSmallDisk<T>(work: (mountPoint: string) => Promise<T>): Promise<T> {
  await using scratch = await makeTemporaryDirectory("disk-full");
  const mountPoint = join(scratch.path, "mount");
  mkdirSync(mountPoint);
  using _ = mount(mountPoint, "-t", "tmpfs", "-o", `size=${DISK_BYTES}`, "kura-disk-full");
  return await work(mountPoint);
}

async function fillAndFree(
  mountPoint: string,
  sizes: readonly number[],
  random: SeededRandom,
  findings: Findings,
): Promise<number[]> {
  const directory = join(mountPoint, "data");
  const options = { directory, maxSize: MAX_SIZE, extraArguments: ["--segment-size", "2MiB", "--shards", "2"] };
  const ballasts = Array.from({ length: BALLAST_COUNT }, (_, number) => join(mountPoint, `ballast-${number}`));
  for (const path of ballasts) writeFileSync(path, Buffer.alloc(BALLAST_BYTES, 1));
  const log = new UploadLog();
  let resumed = 0;
  await using server = await ServerProcess.start(options);
  let refused = await fill(server, random, sizes, log, findings);
  for (const path of ballasts) {
    await readBack(server, log, findings);
    rmSync(path);
    const before = log.acknowledged.length;
    const again = async (): Promise<boolean> =>
      (await upload(server, random, sizes.slice(0, 1), log)).refusedCount === 0;
    findings.expect(await comesTrue(again), "STUCK: no upload succeeded within 30 s after space had returned");
    findings.expect((await httpStatus(server, "/readyz")) === 200, "/readyz is not 200 after space had returned");
    resumed += log.acknowledged.length - before;
    refused += await fill(server, random, sizes, log, findings);
  }
  await server.kill();
  // The disk is full again; a start must not need room.
  await using restarted = await ServerProcess.start(options);
  findings.problems.push(...(await directoryProblems(directory, restarted.endpoint)));
  const read = await readBack(restarted, log, findings);
  await restarted.stop();
  return [log.acknowledged.length, refused, resumed, read];
}

/** Uploads until the disk is full and all sizes are refused for a while. @returns the number of refusals. */
async function fill(
  server: ServerProcess,
  random: SeededRandom,
  sizes: readonly number[],
  log: UploadLog,
  findings: Findings,
): Promise<number> {
  let refused = 0;
  for (let round = 0; round < ROUNDS_TO_FILL_MAX; round++) {
    const wanted = Array.from({ length: UPLOADS_IN_A_ROUND }, () => random.pick(sizes));
    const { refusals, refusedCount } = await upload(server, random, wanted, log);
    refused += refusedCount;
    const others = [...refusals.keys()].filter((code) => code !== status.RESOURCE_EXHAUSTED);
    findings.expect(others.length === 0, `refused with ${others.map((code) => status[code] ?? code).join(", ")}`);
    if (refusedCount > UPLOADS_IN_A_ROUND / 2) return refused;
  }
  findings.expect(false, "the disk did not fill up");
  return refused;
}

/** Each write that crosses the limit is cut short by the kernel, the next one fails with EFBIG; then it is lifted. */
async function shortWrites(random: SeededRandom, findings: Findings): Promise<number[]> {
  await using directory = await makeTemporaryDirectory("fsize");
  const options = {
    directory: directory.path,
    maxSize: MAX_SIZE,
    extraArguments: ["--segment-size", "4MiB", "--shards", "1"],
  };
  const log = new UploadLog();
  let refused = 0;
  let resumed = 0;
  await using server = await ServerProcess.start(options);
  const sizes = [100, 5000, 70 * KIB, 300 * KIB, 1.5 * MIB, 5 * MIB].map(Math.floor);
  for (let round = 0; round < BALLAST_COUNT; round++) {
    const limit = random.int(100 * KIB, 2 * MIB);
    runProgram("prlimit", "--pid", `${server.pid}`, `--fsize=${limit}:`);
    const wanted = Array.from({ length: UPLOADS_IN_A_ROUND }, () => random.pick(sizes));
    const limited = await upload(server, random, wanted, log);
    refused += limited.refusedCount;
    const others = [...limited.refusals.keys()].filter((code) => code !== status.RESOURCE_EXHAUSTED);
    findings.expect(others.length === 0, `refused with ${others.map((code) => status[code] ?? code).join(", ")}`);
    runProgram("prlimit", "--pid", `${server.pid}`, "--fsize=unlimited:");
    const lifted = await upload(server, random, wanted, log);
    findings.expect(lifted.refusedCount === 0, `${lifted.refusedCount} uploads refused after the limit was lifted`);
    resumed += wanted.length - lifted.refusedCount;
    await readBack(server, log, findings);
  }
  findings.expect(refused > 0, "no write was cut short: the limit did nothing");
  await server.kill();
  await using restarted = await ServerProcess.start(options);
  findings.problems.push(...(await directoryProblems(directory.path, restarted.endpoint)));
  const read = await readBack(restarted, log, findings);
  return [log.acknowledged.length, refused, resumed, read];
}
