import { createHash } from "node:crypto";
import { CacheError } from "../cache/cache-error.ts";

/** From the weakest to the strongest. */
const ALGORITHMS = { sha256: 32, sha384: 48, sha512: 64 } as const;

export type IntegrityAlgorithm = keyof typeof ALGORITHMS;

/** Hashes of which content has to have one. */
export interface Integrity {
  readonly algorithm: IntegrityAlgorithm;
  /** Lower-case hex. */
  readonly hashes: readonly string[];
}

/**
 * Reads the value of a `checksum.sri` qualifier: hashes as `sha256-BASE64`, with white space between them. As in the
 * W3C recommendation those by the strongest algorithm count, and one of them has to match. Unlike a browser, which
 * passes over what it cannot read, this refuses: a build that names a checksum wants it checked.
 * @throws {CacheError} invalid_argument
 */
export function parseIntegrity(value: string): Integrity {
  const parsed = value.trim().split(/\s+/).map(parseHash);
  const strength = (algorithm: IntegrityAlgorithm): number => ALGORITHMS[algorithm];
  const strongest = parsed.reduce((best, next) => (strength(next.algorithm) > strength(best.algorithm) ? next : best));
  const { algorithm } = strongest;
  const hashes = parsed.filter((each) => each.algorithm === algorithm).map(({ hash }) => hash);
  return { algorithm, hashes: [...new Set(hashes)] };
}

function parseHash(text: string): { algorithm: IntegrityAlgorithm; hash: string } {
  const [, algorithm = "", base64 = ""] = /^([a-z0-9]+)-([A-Za-z0-9+/]+={0,2})(?:\?.*)?$/.exec(text) ?? [];
  const bytes = Buffer.from(base64, "base64");
  if (!isAlgorithm(algorithm) || bytes.length !== ALGORITHMS[algorithm]) {
    const shown = JSON.stringify(text.length > 200 ? `${text.slice(0, 200)}...` : text);
    const known = Object.keys(ALGORITHMS).join(", ");
    throw new CacheError("invalid_argument", `qualifiers checksum.sri: expected HASH-BASE64 by ${known}, got ${shown}`);
  }
  return { algorithm, hash: bytes.toString("hex") };
}

function isAlgorithm(name: string): name is IntegrityAlgorithm {
  return Object.hasOwn(ALGORITHMS, name);
}

/** Hashes content as it comes by. */
export class IntegrityCheck {
  readonly #integrity: Integrity;
  readonly #hash;

  constructor(integrity: Integrity) {
    this.#integrity = integrity;
    this.#hash = createHash(integrity.algorithm);
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
  }

  /** Ends the check. @returns what is wrong; undefined where the content is what was asked for. */
  problem(): string | undefined {
    const { algorithm, hashes } = this.#integrity;
    const got = this.#hash.digest("hex");
    return hashes.includes(got) ? undefined : `checksum.sri: expected ${algorithm} ${hashes.join(" or ")}, got ${got}`;
  }
}
