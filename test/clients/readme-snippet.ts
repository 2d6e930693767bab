import { readFileSync } from "node:fs";

const README = new URL("../../README.md", import.meta.url);
const EXAMPLE_ENDPOINT = "127.0.0.1:9092";
const EXAMPLE_TOKEN = "THE_TOKEN";

/** A server as the README's examples have to name it. */
export interface SnippetServer {
  readonly endpoint: string;
  /** What it lets clients in with; left out: everybody is let in. */
  readonly token?: string;
}

/** The first code block under a heading of README.md, with the address of the server that is under test. */
export function readmeSnippet(heading: string, endpoint: string): string {
  const [code] = codeBlocks(heading);
  if (!code?.includes(EXAMPLE_ENDPOINT)) throw new Error(`README.md: no snippet with an address under ${heading}`);
  return code.replaceAll(EXAMPLE_ENDPOINT, endpoint);
}

/** What the README has for tools that have to show a token, in the language of their configuration. */
export function tokenSnippet(language: "groovy" | "js" | "sh", { endpoint, token = "" }: SnippetServer): string {
  const code = codeBlocks("With a token", language)[0];
  if (!code?.includes(EXAMPLE_TOKEN)) throw new Error(`README.md: no snippet in ${language} with a token`);
  return code.replaceAll(EXAMPLE_ENDPOINT, endpoint).replaceAll(EXAMPLE_TOKEN, token);
}

function codeBlocks(heading: string, language = "\\w*"): string[] {
  const sections = readFileSync(README, "utf8").split(/^##+ /m);
  const section = sections.find((text) => text.startsWith(`${heading}\n`)) ?? "";
  const blocks = section.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, "gms"));
  return [...blocks].map(([, code = ""]) => code);
}

/** The variables that a tool is told of the server by. */
export function readmeEnvironment(heading: string, server: SnippetServer): Record<string, string> {
  const snippet = readmeSnippet(heading, server.endpoint);
  const code = server.token === undefined ? snippet : snippet + tokenSnippet("sh", server);
  const lines = code.trim().split("\n");
  return Object.fromEntries(lines.map((line) => variableOf(line)));
}

function variableOf(line: string): [string, string] {
  const [, name, value] = /^export (\w+)=(?:'([^']*)'|(\S+))$/.exec(line)?.filter((part) => part !== undefined) ?? [];
  if (name === undefined || value === undefined)
    throw new Error(`README.md: expected "export NAME=VALUE", got ${line}`);
  return [name, value];
}
