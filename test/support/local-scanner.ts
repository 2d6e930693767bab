import { ContentScan, type ScanRequest, type ScanResult } from "../../src/cache/chunking/content-scan.ts";
import type { ContentScanner } from "../../src/cache/chunking/content-scanner.ts";

/** Scans without a thread, and counts them. */
export class LocalScanner implements ContentScanner {
  scans = 0;

  async scan(content: AsyncIterable<Uint8Array>, request: ScanRequest): Promise<ScanResult> {
    this.scans += 1;
    const scan = new ContentScan(request);
    for await (const piece of content) scan.update(piece);
    return scan.finish();
  }
}
