import { randomUUID } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ClientFixture, ClientSurroundings } from "../client-fixture.ts";
import { differingFiles } from "../differing-files.ts";
import { installPackages } from "../npm-packages.ts";
import { readmeSnippet, type SnippetServer, tokenSnippet } from "../readme-snippet.ts";
import { runTool } from "../run-tool.ts";

const VERSION = "0.87.1";
const BUNDLE_SCRIPT = fileURLToPath(new URL("./bundle.ts", import.meta.url));
const MODULE_COUNT = 30;

interface StoreCounts {
  readonly hits: number;
  readonly misses: number;
  readonly puts: number;
  readonly errors: readonly string[];
}

/** Metro with its HTTP store as the only one. */
export const metroClient: ClientFixture = {
  programs: [],

  async run({ server, directory }: ClientSurroundings) {
    const project = join(directory, "project");
    installPackages(project, [`metro@${VERSION}`, `metro-cache@${VERSION}`]);
    writeProject(project, server);
    const cold = await bundle(project, join(directory, "cold"));
    const warm = await bundle(project, join(directory, "warm"));
    const complaints = [...cold.errors, ...warm.errors];
    if (cold.misses <= MODULE_COUNT) complaints.push(`the cold build asked for ${cold.misses} modules only`);
    if (cold.hits > 0) complaints.push(`the cold build had ${cold.hits} hits`);
    if (cold.puts !== cold.misses) complaints.push(`of ${cold.misses} modules ${cold.puts} were stored`);
    const report = {
      tool: "Metro",
      version: VERSION,
      wanted: cold.misses,
      madeCold: cold.misses,
      madeWarm: warm.misses,
      hits: warm.hits,
      differing: differingFiles(join(directory, "cold"), join(directory, "warm")),
      complaints,
    };
    return [report];
  },
};

function writeProject(project: string, server: SnippetServer): void {
  const salt = randomUUID();
  const names = Array.from({ length: MODULE_COUNT }, (_, n) => `m${n}`);
  mkdirSync(join(project, "src"));
  for (const [n, name] of names.entries()) {
    const numbers = Array.from({ length: 40 * (n + 1) }, (_, i) => i).join(", ");
    const code = `// ${salt}\nconst numbers = [${numbers}];\nexport default (x) => x?.y ?? numbers.length;\n`;
    writeFileSync(join(project, "src", `${name}.js`), code);
  }
  const imports = names.map((name) => `import ${name} from "./src/${name}";\n`);
  writeFileSync(join(project, "index.js"), `${imports.join("")}console.log("${salt}", ${names.join("(), ")}());\n`);
  writeFileSync(join(project, "metro.config.js"), configurationFor(server));
}

function configurationFor(server: SnippetServer): string {
  const configuration = readmeSnippet("Metro", server.endpoint);
  if (server.token === undefined) return configuration;
  return configuration.replace(/new HttpStore\(.*?\)/, () => tokenSnippet("js", server).trim());
}

async function bundle(project: string, directory: string): Promise<StoreCounts> {
  const temporary = `${directory}-tmp`;
  for (const made of [directory, temporary]) mkdirSync(made);
  // Metro keeps a map of the files in the folder for temporary files.
  const environment = { TMPDIR: temporary };
  const args = [BUNDLE_SCRIPT, project, join(directory, "bundle.js")];
  const output = await runTool(process.execPath, args, { cwd: project, environment });
  return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "") as StoreCounts;
}
