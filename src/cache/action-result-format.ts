import type { DigestFunctionName } from "./digest.ts";

/** What is known of the encoding of action results, so that an edge can check and translate them without knowing it. */
export interface ActionResultFormat {
  /** @throws {CacheError} invalid_argument where the bytes are no action result that could have been stored as one. */
  check(encoded: Uint8Array, fn: DigestFunctionName): void;
  /** In proto3 JSON. @throws where it does not decode. */
  toJson(encoded: Uint8Array): string;
  /** @throws {CacheError} invalid_argument */
  fromJson(json: string): Uint8Array;
}
