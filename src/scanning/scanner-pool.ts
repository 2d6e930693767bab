import { Piscina } from "piscina";
import { CacheError } from "../cache/cache-error.ts";
import type { ScanRequest, ScanResult } from "../cache/chunking/content-scan.ts";
import type { ContentScanner } from "../cache/chunking/content-scanner.ts";
import { Places } from "../cache/places.ts";
import { workerEnvironment } from "../worker-environment.ts";
import { SCAN_WORKER_URL } from "../worker-urls.ts";
import type { ScanMethodName, ScanMethods } from "./scan-protocol.ts";

/** Scans that take turns in the worker: each holds two windows of a chunking there, and a batch here. */
const SCANS_MAX = 4;
/** Calls that wait for one of these to end. */
const WAITING_MAX = 64;
/** Sent at once: a crossing costs about 90 us. */
const BATCH_BYTES = 1024 * 1024;

/** Scans in a thread of its own, which starts when it is needed first. */
export class ScannerPool implements ContentScanner, AsyncDisposable {
  // One thread: a scan is state in it.
  readonly #pool = new Piscina({
    filename: SCAN_WORKER_URL.href,
    minThreads: 0,
    maxThreads: 1,
    concurrentTasksPerWorker: SCANS_MAX,
    idleTimeout: Number.POSITIVE_INFINITY,
    recordTiming: false,
    env: workerEnvironment(),
  });
  readonly #places = new Places("blobs are being split or spliced", SCANS_MAX, WAITING_MAX);
  #scansBegun = 0;

  async scan(
    content: AsyncIterable<Uint8Array>,
    request: ScanRequest,
    signal: AbortSignal = NEVER,
  ): Promise<ScanResult> {
    using _place = await this.#places.take();
    const scanId = ++this.#scansBegun;
    try {
      await this.#call("begin", { scanId, scan: request });
      for await (const bytes of batches(content)) {
        if (signal.aborted) throw new CacheError("cancelled", "the call was cancelled");
        await this.#call("update", { scanId, bytes }, [bytes.buffer]);
      }
      return await this.#call("finish", { scanId });
    } catch (error) {
      // Where the thread has died there is nothing left of the scan.
      await this.#call("abandon", { scanId }).catch(() => undefined);
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy();
  }

  #call<M extends ScanMethodName>(
    method: M,
    request: ScanMethods[M]["request"],
    transferList: ArrayBuffer[] = [],
  ): Promise<ScanMethods[M]["response"]> {
    return this.#pool.run({ method, request }, { transferList }) as Promise<ScanMethods[M]["response"]>;
  }
}

const NEVER = new AbortController().signal;

/** The same bytes in memory of their own, {@link BATCH_BYTES} at once. */
async function* batches(content: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>> {
  let batch = new Uint8Array(BATCH_BYTES);
  let filled = 0;
  for await (const piece of content) {
    for (let taken = 0; taken < piece.length;) {
      const part = piece.subarray(taken, taken + BATCH_BYTES - filled);
      batch.set(part, filled);
      filled += part.length;
      taken += part.length;
      if (filled < BATCH_BYTES) continue;
      yield batch;
      batch = new Uint8Array(BATCH_BYTES);
      filled = 0;
    }
  }
  if (filled > 0) yield batch.subarray(0, filled);
}
