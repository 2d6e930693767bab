import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { seededRandom } from "../support/seeded-random.ts";
import { type ProcessEnd, ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import type { CrashSuite } from "./crash-suite.ts";
import { UploadLog } from "./crash-workload.ts";
import { type Findings, readBack, scenario, upload } from "./scenario.ts";

const KIB = 1024;
const COLUMNS = ["blobs"] as const;
/** See segment-format.ts: where the format version lies in a segment's header, and the header's checksum. */
const VERSION_OFFSET = 8;
const HEADER_CRC_OFFSET = 60;
/** Names that no version of Kura gives to anything. */
const FOREIGN_NAMES = ["notes.txt", ".hidden", "00000001.seg.bak", "ffffffff", "lost+found"];

/** What a start has to refuse in one line, and what it has to leave alone: H23, H25 and foreign files. */
export const twinSuite: CrashSuite = {
  title: "twins: two processes on one directory, foreign files, a newer format",
  columns: COLUMNS,
  programs: [],
  mounts: false,
  cycles: { short: 1, long: 5 },
  async *run({ cycles, seed }) {
    for (let cycle = 0; cycle < cycles; cycle++) {
      const random = seededRandom(`${seed}/${cycle}`);
      const blobs = Array.from({ length: 40 }, () => random.int(1, 40 * KIB));
      const cases: Readonly<Record<string, DirectoryCase>> = {
        "a second process is refused, and starts after SIGKILL of the first": secondProcess,
        "of many at once one starts": manyAtOnce,
        "a segment of a newer format is refused and not changed": newerFormat,
        "foreign files are left alone": foreignFiles,
      };
      for (const [name, run] of Object.entries(cases)) {
        yield await scenario(
          name,
          (findings) => inFilledDirectory(blobs, `${seed}/${cycle}`, run, findings),
          COLUMNS.length,
        );
      }
    }
  },
};

type DirectoryCase = (directory: string, log: UploadLog, findings: Findings) => Promise<void>;

/** Runs a case on a directory with some blobs in it, and reads them all afterwards. */
async function inFilledDirectory(
  sizes: readonly number[],
  seed: string,
  run: DirectoryCase,
  findings: Findings,
): Promise<number[]> {
  await using directory = await makeTemporaryDirectory("twins");
  const log = new UploadLog();
  {
    await using server = await ServerProcess.start({ directory: directory.path });
    const { refusedCount } = await upload(server, seededRandom(seed), sizes, log);
    findings.expect(refusedCount === 0, `${refusedCount} uploads refused`);
  }
  await run(directory.path, log, findings);
  await using server = await ServerProcess.start({ directory: directory.path });
  return [await readBack(server, log, findings)];
}

/** One line that begins with `kura: ` on top of the log, which is one JSON object a line, and exit code 1. */
function expectRefusal({ exitCode, output }: ProcessEnd, pattern: RegExp, findings: Findings): void {
  const lines = output.split("\n").filter((line) => line !== "" && !line.startsWith("{"));
  findings.expect(exitCode === 1, `exit code: expected 1, got ${exitCode}`);
  findings.expect(
    lines.length === 1 && pattern.test(lines[0] ?? ""),
    `expected one line like ${pattern}, got ${lines.join(" | ")}`,
  );
}

async function secondProcess(directory: string, log: UploadLog, findings: Findings): Promise<void> {
  await using first = await ServerProcess.start({ directory });
  expectRefusal(await ServerProcess.runToExit({ directory }), /^kura: .* is in use by another Kura process$/, findings);
  await readBack(first, log, findings);
  await first.kill();
  await using second = await ServerProcess.start({ directory });
  await readBack(second, log, findings);
  await second.stop();
}

async function manyAtOnce(directory: string, _log: UploadLog, findings: Findings): Promise<void> {
  const processes = Array.from({ length: 4 }, () => ServerProcess.launch({ directory }));
  const started = await Promise.all(
    processes.map((process) =>
      process.untilListening().then(
        () => true,
        () => false,
      ),
    ),
  );
  const count = started.filter(Boolean).length;
  findings.expect(count === 1, `expected one of 4 to start, got ${count}`);
  for (const [number, process] of processes.entries()) {
    if (started[number] === true) await process.kill();
    else expectRefusal(await process.ended(), /^kura: .* is in use by another Kura process$/, findings);
  }
}

async function newerFormat(directory: string, _log: UploadLog, findings: Findings): Promise<void> {
  const segments = join(directory, "segments");
  const path = join(segments, readdirSync(segments)[0] ?? "");
  const original = readFileSync(path);
  const newer = Buffer.from(original);
  const version = original.readUInt32LE(VERSION_OFFSET);
  newer.writeUInt32LE(version + 1, VERSION_OFFSET);
  newer.writeUInt32LE(crc32(newer.subarray(0, HEADER_CRC_OFFSET)), HEADER_CRC_OFFSET);
  writeFileSync(path, newer);
  const refusal = new RegExp(`^kura: .*version: expected at most ${version}, got ${version + 1}$`);
  expectRefusal(await ServerProcess.runToExit({ directory }), refusal, findings);
  findings.expect(readFileSync(path).equals(newer), "the refused segment was changed");
  writeFileSync(path, original);
}

async function foreignFiles(directory: string, log: UploadLog, findings: Findings): Promise<void> {
  const folders = [directory, join(directory, "segments")];
  for (const folder of folders) {
    for (const name of FOREIGN_NAMES) writeFileSync(join(folder, name), "not ours");
    mkdirSync(join(folder, "folder"));
    writeFileSync(join(folder, "folder", "file"), "not ours");
  }
  // Staging is emptied at every start; a folder there must not stand in the way.
  mkdirSync(join(directory, "staging", "folder"));
  writeFileSync(join(directory, "checkpoint", "notes.txt"), "not ours");
  mkdirSync(join(directory, "checkpoint", "folder"));
  {
    await using server = await ServerProcess.start({ directory });
    await readBack(server, log, findings);
    for (const name of FOREIGN_NAMES) findings.expect(server.output.includes(name), `no warning names ${name}`);
    await server.stop();
  }
  for (const folder of folders) {
    for (const name of [...FOREIGN_NAMES, join("folder", "file")]) {
      const path = join(folder, name);
      findings.expect(readFileSync(path, "utf8") === "not ours", `${path} was changed`);
    }
  }
}
