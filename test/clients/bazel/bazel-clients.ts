import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { RequiredProgram } from "../../support/debian-packages.ts";
import type { ClientFixture, ClientReport } from "../client-fixture.ts";
import { readmeSnippet } from "../readme-snippet.ts";
import { runTool } from "../run-tool.ts";

const BAZEL: readonly RequiredProgram[] = [
  { program: "bazel", packages: ["bazel-bootstrap"] },
  { program: "python3", packages: ["python3"] },
  { program: "sha256sum", packages: ["coreutils"] },
];

/** Workspaces, each with a script of its own that builds it twice. */
const WORKSPACES = {
  "bazel-tree": { actions: 81, programs: BAZEL },
  "bazel-cc": { actions: 6, programs: [...BAZEL, { program: "g++", packages: ["g++"] }] },
} as const;

/** @param heading of the README: where it says what Bazel has to be told. */
export function bazelBuild(workspace: keyof typeof WORKSPACES, heading: string): ClientFixture {
  const { actions, programs } = WORKSPACES[workspace];
  const run = async (cache: string, directory: string): Promise<ClientReport[]> => {
    const work = await runScript(workspace, cache, directory);
    const { cold, warm, bad, differ } = JSON.parse(readFileSync(join(work, "report.json"), "utf8")) as BuildReport;
    const report = {
      tool: `Bazel, ${cache.replace(/:.*/, "")}, ${workspace}`,
      version: await bazelVersion(directory),
      wanted: actions,
      madeCold: cold.local,
      madeWarm: warm.local,
      hits: warm.hits,
      differing: Array.from({ length: differ }, (_, n) => `output ${n + 1} of those in diff.txt`),
      complaints: bad,
    };
    return [report];
  };
  return {
    programs,
    run: ({ server, directory }) => run(remoteCache(heading, server.endpoint), directory),
    yardstick: (directory) => run(`disk:${join(directory, "disk-cache")}`, directory),
  };
}

/** What `report.py` writes. */
interface BuildReport {
  readonly cold: { readonly local: number };
  readonly warm: { readonly local: number; readonly hits: number };
  readonly bad: readonly string[];
  readonly differ: number;
}

/** A file from an origin on this machine, through the server. */
export const bazelDownload: ClientFixture = {
  programs: BAZEL,
  serverArguments: ["--asset-origin-fetch", "on", "--asset-allow-private", "127.0.0.1"],

  async run({ server, directory }) {
    const work = await runScript(
      "bazel-download",
      remoteCache("Downloads through the cache", server.endpoint),
      directory,
    );
    const fetchedBy = (build: string): number => {
      const asked = readFileSync(join(work, `${build}.asked`), "utf8").split("\n");
      return asked.filter((line) => line.startsWith("/file.txt ")).length;
    };
    const [cold, both] = [fetchedBy("ob1"), fetchedBy("ob2")];
    const report = {
      tool: "Bazel, downloads",
      version: await bazelVersion(directory),
      wanted: 1,
      madeCold: cold,
      madeWarm: both - cold,
      hits: 1 - (both - cold),
      // The script fails where bytes differ.
      differing: [],
      complaints: [],
    };
    return [report];
  },
};

/** The address that the README's line has for Bazel. */
function remoteCache(heading: string, endpoint: string): string {
  const line = readmeSnippet(heading, endpoint);
  const address = /^build --(?:remote_cache|experimental_remote_downloader)=(\S+)$/m.exec(line)?.[1];
  if (address === undefined) throw new Error(`README.md: no line for Bazel under ${heading}`);
  return address;
}

/** Runs a workspace's script, which builds it twice, and shows its table. @returns where it has put its reports. */
async function runScript(workspace: string, cache: string, directory: string): Promise<string> {
  const script = fileURLToPath(new URL(`../${workspace}/run.sh`, import.meta.url));
  const work = join(directory, "work");
  mkdirSync(work);
  console.log(await runTool(script, [cache, work], { cwd: work }));
  return work;
}

/** Debian's Bazel does not know its own. */
function bazelVersion(directory: string): Promise<string> {
  const args = ["--show", "--showformat=${source:Upstream-Version}", "bazel-bootstrap"];
  return runTool("dpkg-query", args, { cwd: join(directory, "work") });
}
