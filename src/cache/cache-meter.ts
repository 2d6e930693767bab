import type { ValueProtocol } from "./entry-key.ts";

/** Values that clients name otherwise than by their contents. */
export type ValueKind = "ac" | ValueProtocol;

/** Where the measuring decorators report to; implemented by the metrics of the process. */
export interface CacheMeter {
  countLookups(kind: "cas" | "find_missing" | ValueKind, result: "hit" | "miss", count: number): void;
  /** Bytes of values, uncompressed. A read counts in full when it starts. */
  countBytes(kind: "cas" | ValueKind, direction: "read" | "written", bytes: number): void;
}
