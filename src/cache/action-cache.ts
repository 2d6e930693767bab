import type { DigestHash } from "./digest.ts";

/** Action results by (instance name, action digest). Values are encoded `ActionResult` messages. */
export interface ActionCache {
  /**
   * @returns undefined for a miss, which includes an entry whose blobs are not all present. No promise where nothing
   * has to be waited for. The bytes must not be changed.
   */
  get(instanceName: string, action: DigestHash): Promise<Uint8Array | undefined> | Uint8Array | undefined;
  /** The last of concurrent updates wins; none is torn. */
  put(instanceName: string, action: DigestHash, actionResult: Uint8Array): Promise<void>;
}
