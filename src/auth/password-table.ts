import { credentialLines } from "./credential-lines.ts";

/** Checks a password against a bcrypt hash, away from this thread: it takes tens of milliseconds. */
export interface PasswordChecker {
  verify(password: string, bcryptHash: string): Promise<boolean>;
}

const BCRYPT = /^\$2[aby]\$(?:0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}$/;
/** All that bcrypt looks at; a longer password would be taken for any other that begins so. */
const PASSWORD_BYTES_MAX = 72;

/** The users of an htpasswd file. */
export class PasswordTable {
  readonly #checker: PasswordChecker;
  readonly #hashes: ReadonlyMap<string, string>;
  /** Checked for a name that is not there, so that the time it takes tells nothing of who is. */
  readonly #decoy: string | undefined;

  /** @throws {Error} for a line that is not as `htpasswd -B` writes it. */
  constructor(text: string, checker: PasswordChecker) {
    const expected = "NAME:HASH with a bcrypt hash of a cost up to 19, as `htpasswd -B` writes it";
    const lines = credentialLines("--auth-htpasswd", text, BCRYPT, expected);
    this.#checker = checker;
    this.#hashes = new Map(lines.map(({ name, rest }) => [name, rest]));
    this.#decoy = lines.at(-1)?.rest;
  }

  async verify(name: string, password: string): Promise<boolean> {
    const bytes = Buffer.byteLength(password);
    const bcryptHash = this.#hashes.get(name);
    const checked = bcryptHash ?? this.#decoy;
    if (checked === undefined || bytes === 0 || bytes > PASSWORD_BYTES_MAX) return false;
    const isRight = await this.#checker.verify(password, checked);
    return isRight && bcryptHash !== undefined;
  }
}
