import { setImmediate } from "node:timers/promises";
import { type Digest, digestToString } from "../../src/cache/digest.ts";
import type { CacheClient } from "../support/cache-client.ts";
import { digestOf, wireDigest } from "../support/cache-client.ts";
import { seededRandom, type SeededRandom } from "../support/seeded-random.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Sizes and how often each is drawn: all edges often, large ones seldom, so that a cycle stays short. */
const SIZES: readonly { sizes: readonly number[]; weight: number }[] = [
  { sizes: [0, 1, 100], weight: 6 },
  { sizes: [4 * KIB - 1, 4 * KIB, 4 * KIB + 1], weight: 12 },
  { sizes: [32 * KIB - 1, 32 * KIB, 32 * KIB + 1], weight: 12 },
  { sizes: [384 * KIB], weight: 5 },
  { sizes: [MIB - 1, MIB, MIB + 1], weight: 3 },
  { sizes: [4 * MIB - 1, 4 * MIB + 1, 6 * MIB], weight: 1 },
];
const WEIGHTED_SIZES = SIZES.flatMap(({ sizes, weight }) => Array.from({ length: weight }, () => sizes));

/** One key of the action cache; its values are numbered in the order in which they were sent. */
export interface ActionLog {
  readonly action: Digest;
  acknowledgedVersion: number;
  sentVersion: number;
  /** May be gone, for want of room; but never older than what was acknowledged. */
  readonly evictable?: boolean;
}

/** What was sent to a server, and what of it was acknowledged. */
export class UploadLog {
  readonly acknowledged: Digest[] = [];
  /** Sent, but refused or not answered, as expected. */
  readonly unanswered: Digest[] = [];
  /** Acknowledged at a moment of which nobody can say whether it was before or after the crash. */
  readonly doubtful: Digest[] = [];
  /** Acknowledged to who asked when the crash was over, by a process that went on without its disk. */
  readonly afterCrash: Digest[] = [];
  /** Acknowledged, but old enough to have made room for others. */
  readonly evictable: Digest[] = [];
  readonly actions: ActionLog[] = [];
  /** Answers that a server must not give, such as an error while it is alive and well. */
  readonly faults: string[] = [];

  /**
   * What is `afterCrash` is settled here, where all writers are known. A process that goes on without its disk rightly says
   * "present" of a blob that another writer sent before the crash and whose fate is in doubt, so that this answer is in
   * doubt, too. Any other must not have been given, or must be kept.
   */
  static joined(logs: readonly UploadLog[]): UploadLog {
    const all = new UploadLog();
    for (const log of logs) all.add(log);
    const inDoubt = new Set([...all.doubtful, ...all.unanswered].map(digestToString));
    for (const digest of all.afterCrash.splice(0)) {
      (inDoubt.has(digestToString(digest)) ? all.doubtful : all.acknowledged).push(digest);
    }
    return all;
  }

  add(other: UploadLog): void {
    this.acknowledged.push(...other.acknowledged);
    this.unanswered.push(...other.unanswered);
    this.doubtful.push(...other.doubtful);
    this.afterCrash.push(...other.afterCrash);
    this.evictable.push(...other.evictable);
    this.actions.push(...other.actions);
    this.faults.push(...other.faults);
  }
}

/** What a writer knows of what is done to the server. */
export interface CrashView {
  readonly killed: () => boolean;
  /** Whether the server cannot do what it is asked, although it may live: then refusals are right answers. */
  readonly failing?: () => boolean;
  /** The gRPC status that refusals must have then. Default: any. */
  readonly refusalCode?: number;
  /** What an acknowledgement is worth that came now, of an upload that began at `sentAtMs`. Default: acknowledged. */
  readonly worth?: (sentAtMs: number) => "acknowledged" | "doubtful" | "afterCrash";
}

/**
 * Uploads until the server is gone: blobs, a few of them the same as those of other writers, and action results.
 */
export async function writeUntilKilled(
  client: CacheClient,
  names: { cycle: string; writer: number },
  crash: CrashView,
): Promise<UploadLog> {
  const { killed, failing = killed, refusalCode, worth = () => "acknowledged" } = crash;
  const log = new UploadLog();
  const random = seededRandom(`${names.cycle}/${names.writer}`);
  for (let step = 0; !killed(); step++) {
    const content = nextContent(random, names, step);
    const digest = digestOf(content);
    log.unanswered.push(digest);
    const sentAtMs = performance.now();
    try {
      const committedBytes = await client.write(content, { digest });
      if (committedBytes !== digest.sizeBytes) {
        log.faults.push(`committed_size ${committedBytes} for ${digestToString(digest)}`);
      }
      log.unanswered.pop();
      log[worth(sentAtMs)].push(digest);
      if (step % 3 === 2 && log.acknowledged.length > 0) await updateAction(client, names, log, random, worth);
    } catch (error) {
      if (failing()) {
        const code = error instanceof Error && "code" in error ? error.code : undefined;
        if (refusalCode !== undefined && code !== refusalCode) log.faults.push(`a refusal: ${String(error)}`);
        // Refusals come without a wait for anything: timers and signals want their turn.
        await setImmediate();
        continue;
      }
      log.faults.push(`${digestToString(digest)} failed while the server was up: ${String(error)}`);
      break;
    }
  }
  return log;
}

function nextContent(random: SeededRandom, names: { cycle: string; writer: number }, step: number): Buffer {
  const sizeBytes = random.pick(random.pick(WEIGHTED_SIZES));
  // The shared ones are drawn from few, so that several writers send one digest at the same time.
  const shared = random.int(0, 9) === 0;
  return shared
    ? seededRandom(`${names.cycle}/shared/${step % 4}/${sizeBytes}`).bytes(sizeBytes)
    : random.bytes(sizeBytes);
}

/** Updates an older key again, or a new one, with a result that refers to a blob that was acknowledged before. */
async function updateAction(
  client: CacheClient,
  names: { cycle: string; writer: number },
  log: UploadLog,
  random: SeededRandom,
  worth: NonNullable<CrashView["worth"]>,
): Promise<void> {
  let entry = random.int(0, 1) === 0 ? log.actions.at(-1) : undefined;
  if (entry === undefined) {
    const name = `${names.cycle}/${names.writer}/action/${log.actions.length}`;
    entry = { action: digestOf(Buffer.from(name)), acknowledgedVersion: 0, sentVersion: 0 };
    log.actions.push(entry);
  }
  entry.sentVersion++;
  const version = entry.sentVersion;
  const sentAtMs = performance.now();
  await client.updateActionResult(entry.action, {
    stdout_raw: Buffer.from(`${version}`),
    output_files: [{ path: "out/file", digest: wireDigest(random.pick(log.acknowledged)) }],
  });
  if (worth(sentAtMs) !== "doubtful") entry.acknowledgedVersion = version;
}
