import { readFileSync } from "node:fs";

const README = new URL("../../README.md", import.meta.url);
const EXAMPLE_ENDPOINT = "127.0.0.1:9092";

/** The first code block under a heading of README.md, with the address of the server that is under test. */
export function readmeSnippet(heading: string, endpoint: string): string {
  const sections = readFileSync(README, "utf8").split(/^##+ /m);
  const section = sections.find((text) => text.startsWith(`${heading}\n`)) ?? "";
  const code = /^```\w*\n(.*?)^```$/ms.exec(section)?.[1];
  if (!code?.includes(EXAMPLE_ENDPOINT)) throw new Error(`README.md: no snippet with an address under ${heading}`);
  return code.replaceAll(EXAMPLE_ENDPOINT, endpoint);
}

/** The variables that a snippet for a shell sets. */
export function readmeEnvironment(heading: string, endpoint: string): Record<string, string> {
  const lines = readmeSnippet(heading, endpoint).trim().split("\n");
  return Object.fromEntries(lines.map((line) => variableOf(line)));
}

function variableOf(line: string): [string, string] {
  const [, name, value] = /^export (\w+)=(?:'([^']*)'|(\S+))$/.exec(line)?.filter((part) => part !== undefined) ?? [];
  if (name === undefined || value === undefined)
    throw new Error(`README.md: expected "export NAME=VALUE", got ${line}`);
  return [name, value];
}
