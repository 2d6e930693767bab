import { type Digest, digestToString } from "../../src/cache/digest.ts";
import type { CacheClients } from "../support/cache-client.ts";
import { digestOf } from "../support/cache-client.ts";
import type { ActionLog, UploadLog } from "./crash-workload.ts";

/** What a restarted server answered about what it had been sent before. */
export interface VerificationResult {
  blobsVerified: number;
  actionsVerified: number;
  /** Acknowledged, and not there any more. */
  lost: string[];
  /** Served with bytes that are not those of the digest. */
  torn: string[];
  /** FindMissingBlobs and Read do not agree, or an action result is older than what was acknowledged. */
  inconsistent: string[];
  /** Unanswered uploads that are whole nevertheless: allowed, and worth knowing. */
  unansweredButWhole: number;
}

const READERS = 8;

export function emptyVerification(): VerificationResult {
  return { blobsVerified: 0, actionsVerified: 0, lost: [], torn: [], inconsistent: [], unansweredButWhole: 0 };
}

/** As lines for a report; nothing where all is well. */
export function problemsOf({ lost, torn, inconsistent }: VerificationResult): string[] {
  return [
    ...lost.map((name) => `LOST ${name}`),
    ...torn.map((name) => `TORN ${name}`),
    ...inconsistent.map((text) => `INCONSISTENT ${text}`),
  ];
}

/** Adds to `result` what holds for everything in the log. */
export async function verifyUploads(
  clients: CacheClients,
  uploads: UploadLog,
  result: VerificationResult,
): Promise<void> {
  // One that another writer got acknowledged is held to that.
  const acknowledged = new Set(uploads.acknowledged.map((digest) => digest.hash));
  const others = [...uploads.unanswered, ...uploads.doubtful, ...uploads.evictable].filter(
    (digest) => !acknowledged.has(digest.hash),
  );
  await verifyBlobs(clients, uploads.acknowledged, true, result);
  await verifyBlobs(clients, others, false, result);
  await verifyActions(clients, uploads.actions, result);
}

/** Adds to `result` what holds for these blobs. */
export async function verifyBlobs(
  clients: CacheClients,
  digests: readonly Digest[],
  acknowledged: boolean,
  result: VerificationResult,
): Promise<void> {
  const missing = await clients.at(0).findMissing(digests);
  const queue = digests.values();
  const readers = Array.from({ length: READERS }, async (_, reader) => {
    for (const digest of queue) {
      const name = digestToString(digest);
      const bytes = await clients.at(reader).readIfPresent(digest);
      if ((bytes === undefined) !== missing.has(digest.hash)) {
        const found = missing.has(digest.hash) ? "missing" : "present";
        result.inconsistent.push(`${name}: FindMissingBlobs says ${found}, Read does not agree`);
      }
      if (bytes === undefined && acknowledged) result.lost.push(name);
      if (bytes !== undefined && digestOf(bytes).hash !== digest.hash)
        result.torn.push(`${name}: ${bytes.length} bytes`);
      if (bytes !== undefined && !acknowledged) result.unansweredButWhole++;
      result.blobsVerified++;
    }
  });
  await Promise.all(readers);
}

/** An action result is the one acknowledged last, or one that was sent after it, and whole. */
async function verifyActions(
  clients: CacheClients,
  actions: readonly ActionLog[],
  result: VerificationResult,
): Promise<void> {
  const queue = actions.values();
  const readers = Array.from({ length: READERS }, async (_, reader) => {
    for (const { action, acknowledgedVersion, sentVersion, evictable = false } of queue) {
      const value = await clients.at(reader).getActionResult(action);
      const version = value === undefined ? 0 : Number(value.stdout_raw.toString());
      if (value === undefined && (acknowledgedVersion === 0 || evictable)) result.actionsVerified++;
      else if (value === undefined) result.lost.push(`action ${action.hash}`);
      else if (version < acknowledgedVersion || version > sentVersion || Number.isNaN(version)) {
        const bounds = `${acknowledgedVersion} acknowledged, ${sentVersion} sent`;
        result.inconsistent.push(`action ${action.hash}: version ${version}, ${bounds}`);
      } else result.actionsVerified++;
    }
  });
  await Promise.all(readers);
}
