import { randomUUID } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ClientFixture, ClientSurroundings } from "../client-fixture.ts";
import { installPackages } from "../npm-packages.ts";
import { readmeEnvironment } from "../readme-snippet.ts";
import { runTool } from "../run-tool.ts";

const VERSION = "0.49.1";
const STORAGE_SCRIPT = fileURLToPath(new URL("./webdav-storage.ts", import.meta.url));
const OBJECT_COUNT = 40;

interface StorageCounts {
  readonly hits: number;
  readonly misses: number;
  readonly written: number;
  readonly complaints: readonly string[];
}

/** The storage calls of sccache, made by the library that it makes them with: no package has an sccache with them in it. */
export const sccacheClient: ClientFixture = {
  programs: [],

  async run({ server, directory }: ClientSurroundings) {
    const modules = installPackages(join(directory, "opendal"), [`opendal@${VERSION}`]);
    const cwd = join(directory, "work");
    mkdirSync(cwd);
    const environment = readmeEnvironment("sccache", server);
    const args = [STORAGE_SCRIPT, modules, `${OBJECT_COUNT}`, randomUUID()];
    const use = async (): Promise<StorageCounts> => {
      const output = await runTool(process.execPath, args, { cwd, environment });
      return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as StorageCounts;
    };
    const [cold, warm] = [await use(), await use()];
    const complaints = [...cold.complaints, ...warm.complaints];
    if (cold.written !== OBJECT_COUNT + 1) complaints.push(`${cold.written} of ${OBJECT_COUNT + 1} files were written`);
    const report = {
      tool: "OpenDAL, as sccache",
      version: VERSION,
      wanted: OBJECT_COUNT,
      madeCold: cold.misses,
      madeWarm: warm.misses,
      hits: warm.hits,
      // The script compares what it reads with what it knows, and complains itself.
      differing: warm.complaints.filter((text) => text.startsWith("other bytes")),
      complaints,
    };
    return [report];
  },
};
