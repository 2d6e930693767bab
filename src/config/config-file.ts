import { readFileSync } from "node:fs";
import { parseDocument } from "yaml";

/** Texts by option name, to be parsed like those of the command line. */
export interface ConfigFile {
  readonly values: ReadonlyMap<string, string>;
  readonly problems: readonly string[];
}

/**
 * Reads a YAML file that maps option names to values, such as `max-size: 10GiB`. Nothing is thrown: an unreadable
 * file, bad YAML, unknown names and values that are no text or number become problems.
 * @param path undefined: no file.
 */
export function readConfigFile(path: string | undefined, knownNames: ReadonlySet<string>): ConfigFile {
  const values = new Map<string, string>();
  const problems: string[] = [];
  if (path === undefined) return { values, problems };
  const { content, problem } = parseYamlFile(path);
  if (problem !== undefined) return { values, problems: [`--config ${path}: ${problem}`] };
  for (const [name, value] of content) {
    if (!knownNames.has(name)) {
      problems.push(`${path}: unknown option ${JSON.stringify(name)}`);
    } else if (typeof value === "string" || typeof value === "number") {
      values.set(name, String(value));
    } else {
      problems.push(`${path}: ${name}: expected a text or a number, got ${JSON.stringify(value)}`);
    }
  }
  return { values, problems };
}

interface YamlContent {
  readonly content: readonly (readonly [string, unknown])[];
  readonly problem?: string;
}

function parseYamlFile(path: string): YamlContent {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    return { content: [], problem: `cannot be read: ${error instanceof Error ? error.message : String(error)}` };
  }
  const document = parseDocument(text);
  const [firstError] = document.errors;
  if (firstError !== undefined) return { content: [], problem: `is not YAML: ${firstError.message.trimEnd()}` };
  const content: unknown = document.toJS();
  if (content === null || content === undefined) return { content: [] };
  if (typeof content !== "object" || Array.isArray(content)) {
    return { content: [], problem: "expected a mapping of option names to values, such as `port: 9092`" };
  }
  return { content: Object.entries(content) };
}
