import { randomUUID } from "node:crypto";
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { differingFiles } from "../differing-files.ts";
import { runTool } from "../run-tool.ts";

const BUILD_SCRIPT = fileURLToPath(new URL("./build.mjs", import.meta.url));
/** Of one project an output of 6 MiB, of the others some kilobytes. */
const LARGE_ROUNDS = 98_304;

/** A repository of projects in JavaScript, each of which depends on the one before it; nothing has to be fetched. */
export class JsWorkspace {
  readonly directory: string;
  readonly projects: readonly string[];
  readonly #coldDirectory: string;

  constructor(parent: string, projectCount: number) {
    this.directory = join(parent, "workspace");
    this.#coldDirectory = join(parent, "cold");
    this.projects = Array.from({ length: projectCount }, (_, n) => `p${n}`);
    const salt = randomUUID();
    for (const name of this.projects) {
      this.write(`packages/${name}/src/index.js`, `export const salt = "${salt} ${name}";\n`);
      cpSync(BUILD_SCRIPT, join(this.directory, "packages", name, "build.mjs"));
    }
    this.write(".gitignore", "node_modules\ndist\n.turbo\n.nx\n");
  }

  buildCommand(name: string): string {
    const position = this.projects.indexOf(name);
    return `node build.mjs ${position === this.projects.length - 1 ? LARGE_ROUNDS : 50 * (position + 1)}`;
  }

  dependenciesOf(name: string): readonly string[] {
    const position = this.projects.indexOf(name);
    return this.projects.slice(Math.max(0, position - 1), position);
  }

  write(path: string, content: string | object): void {
    const file = join(this.directory, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content, null, 2));
  }

  /** The tools go by what git knows of a file. */
  async commit(): Promise<void> {
    const identity = ["-c", "user.name=client", "-c", "user.email=client@localhost"];
    for (const args of [
      ["init", "--quiet"],
      ["add", "--all"],
      [...identity, "commit", "--quiet", "--message=all"],
    ]) {
      await runTool("git", args, { cwd: this.directory });
    }
  }

  /** How many projects were built while `log` was the value of BUILT_LOG. */
  countBuilt(log: string): number {
    return existsSync(log) ? readFileSync(log, "utf8").trimEnd().split("\n").length : 0;
  }

  /** Takes the outputs away. */
  keepOutputs(): void {
    for (const [output, kept] of this.#outputs()) {
      mkdirSync(dirname(kept), { recursive: true });
      renameSync(output, kept);
    }
  }

  /** Paths of outputs that are not as those that were taken away. */
  differingOutputs(): string[] {
    return this.#outputs().flatMap(([output, kept]) => differingFiles(kept, output).map((path) => join(output, path)));
  }

  #outputs(): [string, string][] {
    return this.projects.map((name) => [
      join(this.directory, "packages", name, "dist"),
      join(this.#coldDirectory, name),
    ]);
  }
}
