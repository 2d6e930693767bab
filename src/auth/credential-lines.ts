/** One `NAME:REST` of a file. */
export interface CredentialLine {
  readonly name: string;
  readonly rest: string;
}

/**
 * The lines of a file of credentials. Empty lines and those that begin with `#` are left out.
 * @param form of what follows the name.
 * @throws {Error} naming the first line that is of another form or names somebody again; never what is in it.
 */
export function credentialLines(option: string, text: string, form: RegExp, expected: string): CredentialLine[] {
  const names = new Set<string>();
  const lines: CredentialLine[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.trim();
    if (line === "" || line.startsWith("#")) continue;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(colon, 0));
    const rest = line.slice(colon + 1);
    if (name === "" || !form.test(rest)) throw new Error(`${option}, line ${index + 1}: expected ${expected}`);
    if (names.has(name)) throw new Error(`${option}, line ${index + 1}: the name is there already`);
    names.add(name);
    lines.push({ name, rest });
  }
  return lines;
}
