import { randomUUID } from "node:crypto";
import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ClientFixture, ClientSurroundings } from "../client-fixture.ts";
import { differingFiles } from "../differing-files.ts";
import { readmeSnippet, type SnippetServer, tokenSnippet } from "../readme-snippet.ts";
import { runTool } from "../run-tool.ts";

const PROJECT = fileURLToPath(new URL("./project", import.meta.url));
const TASK = /^(?:> Task )?:(?:write\d+|compileJava)( FROM-CACHE)?$/gm;
const TASK_COUNT = 13;
/** After any of these Gradle goes on without the cache. */
const COMPLAINT = /^.*(?:remote build cache was disabled|Could not (?:load|store) entry|warning).*$/gim;

/** Gradle's own HTTP build cache client. */
export const gradleClient: ClientFixture = {
  programs: [
    { program: "gradle", packages: ["gradle"] },
    { program: "javac", packages: ["default-jdk-headless"] },
  ],

  async run({ server, directory }: ClientSurroundings) {
    const project = join(directory, "project");
    const coldBuild = join(directory, "cold-build");
    writeProject(project, server);
    const cold = await build(project, join(directory, "gradle-home-1"));
    renameSync(join(project, "build"), coldBuild);
    rmSync(join(project, ".gradle"), { recursive: true });
    const warm = await build(project, join(directory, "gradle-home-2"));
    const version = /^Gradle (\S+)/m.exec(await runTool("gradle", ["--version"], { cwd: project }))?.[1];
    const report = {
      tool: "Gradle",
      version: version ?? "",
      wanted: TASK_COUNT,
      madeCold: cold.made,
      madeWarm: warm.made,
      hits: warm.taken,
      differing: ["written", "classes"].flatMap((name) =>
        differingFiles(join(coldBuild, name), join(project, "build", name)),
      ),
      complaints: [...cold.complaints, ...warm.complaints],
    };
    return [report];
  },
};

function writeProject(project: string, server: SnippetServer): void {
  const salt = randomUUID();
  cpSync(PROJECT, project, { recursive: true });
  writeFileSync(join(project, "settings.gradle"), settingsFor(server));
  writeFileSync(join(project, "salt.txt"), salt);
  const sources = join(project, "src/main/java/salted");
  mkdirSync(sources, { recursive: true });
  for (const n of Array(15).keys()) {
    const code = `package salted; public class Class${n} { public String salt() { return "${salt} ${n}"; } }\n`;
    writeFileSync(join(sources, `Class${n}.java`), code);
  }
}

function settingsFor(server: SnippetServer): string {
  const settings = readmeSnippet("Gradle", server.endpoint);
  if (server.token === undefined) return settings;
  return settings.replace("push = true\n", (line) => line + tokenSnippet("groovy", server));
}

async function build(project: string, home: string): Promise<{ made: number; taken: number; complaints: string[] }> {
  const args = ["--no-daemon", "--build-cache", "--console=plain", "-g", home, "assemble"];
  const output = await runTool("gradle", args, { cwd: project });
  const tasks = [...output.matchAll(TASK)];
  const taken = tasks.filter(([, fromCache]) => fromCache !== undefined).length;
  return { made: tasks.length - taken, taken, complaints: output.match(COMPLAINT) ?? [] };
}
