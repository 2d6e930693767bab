import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));

/** @param path from the top of the repository. */
export function readText(path: string): string {
  return readFileSync(join(REPOSITORY, path), "utf8");
}

export interface Dockerfile {
  /** Instructions of the last stage in their order, continued lines joined. */
  readonly instructions: readonly { readonly name: string; readonly value: string }[];
  /** Of an instruction that comes once. */
  readonly valueOf: (name: string) => string;
  /** Of one in the form of a JSON list. */
  readonly commandOf: (name: string) => readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** What is copied from the build context, in all stages. */
  readonly copied: readonly string[];
}

export function readDockerfile(): Dockerfile {
  const lines = readText("deploy/Dockerfile").replaceAll(/\\\n/g, " ").split("\n");
  const all = lines
    .filter((line) => line.trim() !== "" && !line.startsWith("#"))
    .map((line) => {
      const [, name = "", value = ""] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      return { name, value };
    });
  const instructions = all.slice(all.findLastIndex(({ name }) => name === "FROM"));
  const valuesOf = (name: string): string[] =>
    instructions.filter((instruction) => instruction.name === name).map(({ value }) => value);
  const valueOf = (name: string): string => {
    const [value, ...more] = valuesOf(name);
    if (value === undefined || more.length > 0) throw new Error(`expected one ${name} in the last stage`);
    return value;
  };
  return {
    instructions,
    valueOf,
    commandOf: (name) => JSON.parse(valueOf(name).replace(/^.*?\[/s, "[")) as string[],
    environment: Object.fromEntries(
      valuesOf("ENV").flatMap((value) => value.split(/\s+/).map((pair) => pair.split("=", 2) as [string, string])),
    ),
    copied: all
      .filter(({ name, value }) => name === "COPY" && !value.startsWith("--from"))
      .flatMap(({ value }) => value.split(/\s+/).slice(0, -1)),
  };
}

/**
 * `npm start`, taken apart: what it sets, but for where compiled modules are kept, which each package says for itself; and
 * the arguments of Node.
 */
export function startCommand(): { readonly environment: Readonly<Record<string, string>>; readonly args: string[] } {
  const { scripts } = JSON.parse(readText("package.json")) as { scripts: { start: string } };
  const [settings = "", command = ""] = scripts.start.split(" exec node ");
  const pairs = settings.split(" ").map((pair) => pair.split("=", 2) as [string, string]);
  const environment = Object.fromEntries(pairs.filter(([name]) => name !== "NODE_COMPILE_CACHE"));
  return { environment, args: command.split(" ") };
}

/** The settings of a systemd unit, in their order. */
export function readUnit(unit = "kura.service"): readonly { readonly name: string; readonly value: string }[] {
  const lines = readText(`deploy/systemd/${unit}`).split("\n");
  return lines.flatMap((line) => {
    const [, name, value = ""] = /^(\w+)=(.*)$/.exec(line) ?? [];
    return name === undefined ? [] : [{ name, value }];
  });
}
