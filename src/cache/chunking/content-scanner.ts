import type { ScanRequest, ScanResult } from "./content-scan.ts";

/** Hashes and chunks contents without holding up whoever asks. */
export interface ContentScanner {
  /**
   * Reads `content` to its end.
   * @throws {CacheError} resource_exhausted where too many scans are waiting; cancelled where `signal` is aborted.
   */
  scan(content: AsyncIterable<Uint8Array>, request: ScanRequest, signal?: AbortSignal): Promise<ScanResult>;
}
