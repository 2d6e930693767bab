import { type ContentHash, contentHashOf, createContentHash } from "../content-hash.ts";
import type { Digest, DigestFunctionName } from "../digest.ts";
import { type Chunking, cutRuleOf } from "./chunking.ts";
import type { CutRule } from "./cut-rule.ts";

/** What is wanted of the bytes. */
export interface ScanRequest {
  readonly fn: DigestFunctionName;
  readonly sizeBytes: number;
  readonly wantsHash: boolean;
  /** Undefined where no chunks are wanted. */
  readonly chunking: Chunking | undefined;
}

export interface ScanResult {
  /** Undefined where it was not wanted. */
  readonly hash: string | undefined;
  /** In order; empty where none were wanted. */
  readonly chunks: readonly Digest[];
}

/**
 * Takes contents piece by piece and computes their hash and their chunks. It costs seconds a gigabyte, so that it runs
 * in a thread of its own; see `src/scanning`.
 */
export class ContentScan {
  readonly #fn: DigestFunctionName;
  readonly #hash: ContentHash | undefined;
  readonly #cutter: Cutter | undefined;
  readonly #chunks: Digest[] = [];

  constructor({ fn, sizeBytes, wantsHash, chunking }: ScanRequest) {
    this.#fn = fn;
    this.#hash = wantsHash ? createContentHash(fn, sizeBytes) : undefined;
    this.#cutter = chunking && new Cutter(cutRuleOf(chunking), (chunk) => this.#chunks.push(this.#digestOf(chunk)));
  }

  update(piece: Uint8Array): void {
    this.#hash?.update(piece);
    this.#cutter?.update(piece);
  }

  finish(): ScanResult {
    this.#cutter?.finish();
    return { hash: this.#hash && hex(this.#hash.digest()), chunks: this.#chunks };
  }

  #digestOf(chunk: Uint8Array): Digest {
    return { fn: this.#fn, hash: hex(contentHashOf(this.#fn, [chunk])), sizeBytes: chunk.length };
  }
}

/** Cuts as soon as the bytes are there that decide where. Holds two windows of them. */
class Cutter {
  readonly #rule: CutRule;
  readonly #onChunk: (chunk: Uint8Array) => void;
  readonly #buffer: Uint8Array;
  #start = 0;
  #end = 0;

  constructor(rule: CutRule, onChunk: (chunk: Uint8Array) => void) {
    this.#rule = rule;
    this.#onChunk = onChunk;
    this.#buffer = new Uint8Array(2 * rule.windowBytes);
  }

  update(piece: Uint8Array): void {
    for (let taken = 0; taken < piece.length;) {
      if (this.#end === this.#buffer.length) this.#moveToFront();
      const part = piece.subarray(taken, taken + this.#buffer.length - this.#end);
      this.#buffer.set(part, this.#end);
      this.#end += part.length;
      taken += part.length;
      while (this.#end - this.#start >= this.#rule.windowBytes) this.#cut(this.#start + this.#rule.windowBytes);
    }
  }

  finish(): void {
    while (this.#start < this.#end) this.#cut(Math.min(this.#end, this.#start + this.#rule.windowBytes));
  }

  #cut(windowEnd: number): void {
    const chunkEnd = this.#rule.cut(this.#buffer, this.#start, windowEnd);
    this.#onChunk(this.#buffer.subarray(this.#start, chunkEnd));
    this.#start = chunkEnd;
  }

  /** What is left is less than a window: there is room for another. */
  #moveToFront(): void {
    this.#buffer.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}
