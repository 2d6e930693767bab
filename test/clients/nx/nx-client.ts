import { rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { ClientFixture, ClientSurroundings } from "../client-fixture.ts";
import { JsWorkspace } from "../js-workspace/js-workspace.ts";
import { installPackages } from "../npm-packages.ts";
import { readmeEnvironment } from "../readme-snippet.ts";
import { runTool } from "../run-tool.ts";

const VERSION = "24.0.6";
const PROJECT_COUNT = 8;
const COMPLAINT = /^.*(?:warn|error|unable to|fail).*$/gim;

/** Nx with a self-hosted remote cache. */
export const nxClient: ClientFixture = {
  programs: [{ program: "git", packages: ["git"] }],

  async run({ server, directory }: ClientSurroundings) {
    const modules = installPackages(join(directory, "nx"), [`nx@${VERSION}`]);
    const workspace = new JsWorkspace(directory, PROJECT_COUNT);
    writeConfiguration(workspace);
    symlinkSync(modules, join(workspace.directory, "node_modules"));
    await workspace.commit();
    const logOf = (name: string): string => join(directory, `${name}.log`);
    const build = (name: string): Promise<string> =>
      runTool(join(modules, ".bin/nx"), ["run-many", "--targets=build", "--outputStyle=static"], {
        cwd: workspace.directory,
        environment: {
          ...readmeEnvironment("Nx", server),
          BUILT_LOG: logOf(name),
          CI: "true",
          // Where they are else is shared by all workspaces of a user.
          NX_CACHE_DIRECTORY: join(directory, name, "cache"),
          NX_WORKSPACE_DATA_DIRECTORY: join(directory, name, "data"),
          NX_DAEMON: "false",
          NX_TUI: "false",
        },
      });
    const cold = await build("local-1");
    workspace.keepOutputs();
    rmSync(join(workspace.directory, ".nx"), { recursive: true, force: true });
    const warm = await build("local-2");
    const report = {
      tool: "Nx",
      version: VERSION,
      wanted: PROJECT_COUNT,
      madeCold: workspace.countBuilt(logOf("local-1")),
      madeWarm: workspace.countBuilt(logOf("local-2")),
      hits: warm.match(/\[remote cache\]/g)?.length ?? 0,
      differing: workspace.differingOutputs(),
      complaints: `${cold}\n${warm}`.match(COMPLAINT) ?? [],
    };
    return [report];
  },
};

function writeConfiguration(workspace: JsWorkspace): void {
  workspace.write("package.json", { name: "workspace", private: true, devDependencies: { nx: VERSION } });
  workspace.write("nx.json", { analytics: false, neverConnectToCloud: true });
  for (const name of workspace.projects) {
    const root = `packages/${name}`;
    const build = {
      executor: "nx:run-commands",
      cache: true,
      dependsOn: ["^build"],
      inputs: ["{projectRoot}/src/**/*", "{projectRoot}/build.mjs"],
      outputs: ["{projectRoot}/dist"],
      options: { command: workspace.buildCommand(name), cwd: root },
    };
    const implicitDependencies = workspace.dependenciesOf(name);
    workspace.write(`${root}/project.json`, { name, root, implicitDependencies, targets: { build } });
  }
}
