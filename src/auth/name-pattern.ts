/** A name in which `*` stands for any characters, or none. */
export class NamePattern {
  readonly text: string;
  readonly #parts: readonly string[];

  constructor(text: string) {
    this.text = text;
    this.#parts = text.split("*");
  }

  get matchesAll(): boolean {
    return this.text === "*";
  }

  /** In one pass, without going back: a client's name cannot make it slow. */
  matches(name: string): boolean {
    const [first = "", ...rest] = this.#parts;
    const last = rest.pop();
    if (last === undefined) return name === first;
    if (name.length < first.length + last.length || !name.startsWith(first) || !name.endsWith(last)) return false;
    const end = name.length - last.length;
    let at = first.length;
    for (const part of rest) {
      const found = name.indexOf(part, at);
      if (found === -1 || found + part.length > end) return false;
      at = found + part.length;
    }
    return true;
  }
}
