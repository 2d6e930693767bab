import type { ValueProtocol } from "./entry-key.ts";

/** Where the measuring decorators report to; implemented by the metrics of the process. */
export interface CacheMeter {
  countLookups(kind: "cas" | "ac" | "find_missing" | ValueProtocol, result: "hit" | "miss", count: number): void;
  /** Bytes of values, uncompressed. A read counts in full when it starts. */
  countBytes(kind: "cas" | "ac" | ValueProtocol, direction: "read" | "written", bytes: number): void;
}
