import { readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { ClientFixture, ClientReport, ClientSurroundings } from "../client-fixture.ts";
import { JsWorkspace } from "../js-workspace/js-workspace.ts";
import { installPackages } from "../npm-packages.ts";
import { readmeEnvironment } from "../readme-snippet.ts";
import { runTool } from "../run-tool.ts";

const VERSION = "2.11.11";
const PROJECT_COUNT = 6;
/** `build` and `test` of each project; only the first of them writes files. */
const TASK_COUNT = 2 * PROJECT_COUNT;
const COMPLAINT = /^.*(?:warn|error|skipping|failed|unavailable).*$/gim;

/** A way to use it. */
interface Variant {
  readonly name: string;
  readonly flags: readonly string[];
  readonly variables: Readonly<Record<string, string>>;
}

const VARIANTS: readonly Variant[] = [
  { name: "plain", flags: [], variables: {} },
  {
    name: "signed",
    flags: ["--preflight"],
    variables: {
      TURBO_TEAM: "",
      TURBO_TEAMID: "team_kura",
      TURBO_REMOTE_CACHE_SIGNATURE_KEY: "0123456789abcdef".repeat(2),
    },
  },
];

/** Turborepo with a self-hosted remote cache. */
export const turboClient: ClientFixture = {
  programs: [{ program: "git", packages: ["git"] }],

  async run({ server, directory }: ClientSurroundings) {
    const modules = installPackages(join(directory, "turbo"), [`turbo@${VERSION}`]);
    const reports: ClientReport[] = [];
    for (const variant of VARIANTS) {
      reports.push(await runVariant(variant, { server, directory: join(directory, variant.name) }, modules));
    }
    return reports;
  },
};

async function runVariant(
  variant: Variant,
  { server, directory }: ClientSurroundings,
  modules: string,
): Promise<ClientReport> {
  const workspace = new JsWorkspace(directory, PROJECT_COUNT);
  writeConfiguration(workspace, variant.name === "signed");
  symlinkSync(modules, join(workspace.directory, "node_modules"));
  await workspace.commit();
  const build = async (log: string): Promise<{ output: string; tasks: readonly TaskSummary[] }> => {
    const flags = ["--env-mode=loose", "--output-logs=hash-only", "--summarize", ...variant.flags];
    const output = await runTool(join(modules, ".bin/turbo"), ["run", "build", "test", ...flags], {
      cwd: workspace.directory,
      environment: {
        ...readmeEnvironment("Turborepo", server),
        ...variant.variables,
        BUILT_LOG: log,
        TURBO_UI: "false",
        TURBO_TELEMETRY_DISABLED: "1",
        TURBO_NO_UPDATE_NOTIFIER: "1",
      },
    });
    return { output, tasks: takeSummary(workspace.directory) };
  };
  const [coldLog, warmLog] = [join(directory, "cold.log"), join(directory, "warm.log")];
  const cold = await build(coldLog);
  workspace.keepOutputs();
  for (const name of workspace.projects)
    rmSync(join(workspace.directory, "packages", name, ".turbo"), { recursive: true });
  rmSync(join(workspace.directory, ".turbo"), { recursive: true });
  const warm = await build(warmLog);
  const isRemoteHit = ({ cache }: TaskSummary): boolean => cache.status === "HIT" && cache.source === "REMOTE";
  const complaints: string[] = `${cold.output}\n${warm.output}`.match(COMPLAINT) ?? [];
  if (workspace.countBuilt(warmLog) > 0) complaints.push("a project was built again");
  if (warm.tasks.some(({ cache }) => !(Number(cache.timeSaved) >= 0))) complaints.push("the time saved is not told");
  return {
    tool: `Turborepo, ${variant.name}`,
    version: VERSION,
    wanted: TASK_COUNT,
    madeCold: cold.tasks.filter(({ cache }) => cache.status === "MISS").length,
    madeWarm: warm.tasks.filter(({ cache }) => cache.status === "MISS").length,
    hits: warm.tasks.filter(isRemoteHit).length,
    differing: workspace.differingOutputs(),
    complaints,
  };
}

interface TaskSummary {
  readonly cache: { readonly status: string; readonly source?: string; readonly timeSaved?: number };
}

/** What `--summarize` has written. */
function takeSummary(directory: string): readonly TaskSummary[] {
  const runs = join(directory, ".turbo/runs");
  const [file = ""] = readdirSync(runs);
  const { tasks } = JSON.parse(readFileSync(join(runs, file), "utf8")) as { tasks: TaskSummary[] };
  rmSync(runs, { recursive: true });
  return tasks;
}

function writeConfiguration(workspace: JsWorkspace, isSigned: boolean): void {
  const { projects } = workspace;
  const root = { name: "workspace", version: "1.0.0", private: true, workspaces: ["packages/*"] };
  workspace.write("package.json", { ...root, packageManager: "npm@11.0.0" });
  const packages: Record<string, object> = { "": root };
  for (const name of projects) {
    const dependencies = Object.fromEntries(workspace.dependenciesOf(name).map((other) => [other, "1.0.0"]));
    const scripts = { build: workspace.buildCommand(name), test: `node -e "console.log('tested ${name}')"` };
    workspace.write(`packages/${name}/package.json`, { name, version: "1.0.0", scripts, dependencies });
    packages[`packages/${name}`] = { name, version: "1.0.0", dependencies };
    packages[`node_modules/${name}`] = { resolved: `packages/${name}`, link: true };
  }
  workspace.write("package-lock.json", { name: "workspace", lockfileVersion: 3, requires: true, packages });
  workspace.write("turbo.json", {
    remoteCache: { signature: isSigned },
    tasks: {
      build: { dependsOn: ["^build"], inputs: ["src/**", "build.mjs", "package.json"], outputs: ["dist/**"] },
      test: { dependsOn: ["build"], outputs: [] },
    },
  });
}
