import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

/** Paths below two directories that are in one of them only, or whose bytes or executable bits differ. */
export function differingFiles(expected: string, actual: string): string[] {
  const paths = new Set([...filesBelow(expected), ...filesBelow(actual)]);
  return [...paths].filter((path) => !isSame(join(expected, path), join(actual, path))).toSorted();
}

function filesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, encoding: "utf8" });
  const files = entries.filter((path) => statSync(join(directory, path)).isFile());
  if (files.length === 0) throw new Error(`${directory}: nothing to compare`);
  return files;
}

function isSame(expected: string, actual: string): boolean {
  const [a, b] = [expected, actual].map((path) => statSync(path, { throwIfNoEntry: false }));
  if (a === undefined || b === undefined || (a.mode & 0o111) !== (b.mode & 0o111)) return false;
  return readFileSync(expected).equals(readFileSync(actual));
}
