import type { ScanRequest, ScanResult } from "../cache/chunking/content-scan.ts";

/** What the scan worker can be asked; `scanId` is the caller's choice. */
export interface ScanMethods {
  begin: { request: { scanId: number; scan: ScanRequest }; response: undefined };
  /** The bytes are transferred: big ones are not copied. */
  update: { request: { scanId: number; bytes: Uint8Array<ArrayBuffer> }; response: undefined };
  finish: { request: { scanId: number }; response: ScanResult };
  /** Nobody will finish it. */
  abandon: { request: { scanId: number }; response: undefined };
}

export type ScanMethodName = keyof ScanMethods;
export type ScanTask = { [M in ScanMethodName]: { method: M; request: ScanMethods[M]["request"] } }[ScanMethodName];
