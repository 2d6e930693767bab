import { randomUUID } from "node:crypto";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ClientFixture, ClientReport, ClientSurroundings } from "../client-fixture.ts";
import { differingFiles } from "../differing-files.ts";
import { readmeEnvironment } from "../readme-snippet.ts";
import { runTool } from "../run-tool.ts";

/** How ccache can name its objects; what the README has is the second, which is ccache's own default. */
const LAYOUTS = ["bazel", "subdirs", "flat"] as const;
const C_FILES = 12;

/** Compilations through ccache, its objects in the HTTP storage only once its own directory is gone. */
export const ccacheClient: ClientFixture = {
  programs: [
    { program: "ccache", packages: ["ccache"] },
    { program: "gcc", packages: ["gcc", "libc6-dev"] },
    { program: "g++", packages: ["g++"] },
  ],

  async run(surroundings: ClientSurroundings) {
    const reports: ClientReport[] = [];
    for (const layout of LAYOUTS) reports.push(await runLayout(layout, surroundings));
    return reports;
  },
};

async function runLayout(layout: string, { server, directory }: ClientSurroundings): Promise<ClientReport> {
  const home = join(directory, layout);
  const sources = join(home, "src");
  writeSources(sources);
  const snippet = readmeEnvironment("ccache", server);
  const storage = layout === "subdirs" ? snippet : withLayout(snippet, layout);
  const cold = await compileAll(sources, join(home, "cold"), storage);
  const warm = await compileAll(sources, join(home, "warm"), storage);
  const version = /^ccache version (\S+)/m.exec(await runTool("ccache", ["--version"], { cwd: home }))?.[1] ?? "";
  return {
    tool: `ccache, ${layout}`,
    version,
    wanted: readdirSync(sources).length,
    madeCold: cold("cache_miss"),
    madeWarm: warm("cache_miss"),
    hits: Math.min(warm("remote_storage_hit"), warm("direct_cache_hit") + warm("preprocessed_cache_hit")),
    differing: differingFiles(join(home, "cold", "objects"), join(home, "warm", "objects")),
    complaints: [cold, warm].flatMap((count) =>
      ["remote_storage_error", "remote_storage_timeout"].flatMap((name) =>
        count(name) === 0 ? [] : [`${name}: ${count(name)}`],
      ),
    ),
  };
}

function withLayout(variables: Record<string, string>, layout: string): Record<string, string> {
  const name = "CCACHE_REMOTE_STORAGE";
  return { ...variables, [name]: `${variables[name] ?? ""}|layout=${layout}` };
}

function writeSources(directory: string): void {
  const salt = randomUUID();
  mkdirSync(directory, { recursive: true });
  for (let n = 1; n <= C_FILES; n += 1) {
    const functions = Array.from({ length: 20 * n }, (_, i) => `int f${n}_${i}(int x) { return x * ${i} + ${n}; }`);
    writeFileSync(join(directory, `c${n}.c`), [`const char *salt${n} = "${salt} ${n}";`, ...functions, ""].join("\n"));
  }
  for (const n of [1, 2]) {
    const code = `#include <map>\n#include <string>\nstd::map<std::string, int> salted${n}{{"${salt}", ${n}}};\n`;
    writeFileSync(join(directory, `cc${n}.cc`), code);
  }
}

/** Compiles each file, with a local cache of its own. @returns ccache's count of each kind. */
async function compileAll(
  sources: string,
  directory: string,
  storage: Readonly<Record<string, string>>,
): Promise<(name: string) => number> {
  const objects = join(directory, "objects");
  mkdirSync(objects, { recursive: true });
  const environment = { ...storage, CCACHE_DIR: join(directory, "local"), CCACHE_CONFIGPATH: "/dev/null" };
  for (const file of readdirSync(sources)) {
    const compiler = file.endsWith(".cc") ? "g++" : "gcc";
    const args = [compiler, "-O1", "-c", file, "-o", join(objects, `${file}.o`)];
    await runTool("ccache", args, { cwd: sources, environment });
  }
  const stats = await runTool("ccache", ["--print-stats"], { cwd: sources, environment });
  const counts = new Map(stats.split("\n").map((line) => line.split("\t") as [string, string]));
  return (name) => Number(counts.get(name) ?? 0);
}
