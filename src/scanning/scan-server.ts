import { ContentScan } from "../cache/chunking/content-scan.ts";
import type { ScanMethodName, ScanMethods, ScanTask } from "./scan-protocol.ts";

/** Runs scans in a worker thread, several in turns. */
export class ScanServer {
  readonly #scans = new Map<number, ContentScan>();

  handle(task: ScanTask): ScanMethods[ScanMethodName]["response"] {
    const { scanId } = task.request;
    switch (task.method) {
      case "begin":
        this.#scans.set(scanId, new ContentScan(task.request.scan));
        return undefined;
      case "update":
        this.#scan(scanId).update(task.request.bytes);
        return undefined;
      case "finish": {
        const result = this.#scan(scanId).finish();
        this.#scans.delete(scanId);
        return result;
      }
      case "abandon":
        this.#scans.delete(scanId);
        return undefined;
    }
  }

  #scan(scanId: number): ContentScan {
    const scan = this.#scans.get(scanId);
    if (scan === undefined) throw new RangeError(`scan ${scanId} was not begun in this thread`);
    return scan;
  }
}
