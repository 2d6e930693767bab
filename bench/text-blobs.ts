import { createHash, type Hash, randomBytes } from "node:crypto";
import { STAMP_BYTES } from "./blob-plan.ts";
import type { HttpRequest } from "./http-workload.ts";

/**
 * Blobs of one size that are new to the server and differ in a stamp at their end only, as those of a BlobPlan, but of
 * ASCII characters: autocannon makes strings of bodies, and of random bytes that costs 20 times as much as all else.
 */
export class TextBlobs {
  readonly count: number;
  readonly #content: Buffer;
  readonly #prefixHash: Hash;

  constructor(sizeBytes: number, totalBytes: number) {
    this.count = Math.ceil(totalBytes / sizeBytes);
    this.#content = Buffer.from(randomBytes(sizeBytes).toString("base64").slice(0, sizeBytes));
    this.#prefixHash = createHash("sha256").update(this.#content.subarray(0, sizeBytes - STAMP_BYTES));
  }

  put(number: number): HttpRequest {
    const body = Buffer.from(this.#content);
    body.write(stampOf(number), body.length - STAMP_BYTES, "latin1");
    return { method: "PUT", path: this.path(number), body };
  }

  get(number: number): HttpRequest {
    return { method: "GET", path: this.path(number) };
  }

  /** With the size, for who does not know the blob. */
  path(number: number): string {
    const hash = this.#prefixHash.copy().update(stampOf(number)).digest("hex");
    return `/cas/${hash}?bytes=${this.#content.length}`;
  }
}

function stampOf(number: number): string {
  return String(number).padStart(STAMP_BYTES, "0");
}
