import { hash } from "node:crypto";
import { credentialLines } from "./credential-lines.ts";

const SHA_256 = /^[0-9a-f]{64}$/;

/** Tokens by name, of which only the hash is known: a token is random, so that nothing slower than SHA-256 is needed. */
export class TokenTable {
  readonly #keyOf: (text: string) => string;
  readonly #names: ReadonlyMap<string, string>;

  /**
   * @param text a line `NAME:SHA-256 OF THE TOKEN IN HEX` for each.
   * @param keyOf a hash that nobody outside can compute, so that how long a look-up takes tells nothing.
   * @throws {Error} for a line of another form.
   */
  constructor(text: string, keyOf: (text: string) => string) {
    const lines = credentialLines("--auth-tokens", text, SHA_256, "NAME:HASH with the SHA-256 of the token in hex");
    this.#keyOf = keyOf;
    this.#names = new Map(lines.map(({ name, rest }) => [keyOf(rest), name]));
  }

  nameOf(token: string): string | undefined {
    return this.#names.get(this.#keyOf(hash("sha256", token)));
  }
}
