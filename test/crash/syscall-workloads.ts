import { cpSync } from "node:fs";
import { status } from "@grpc/grpc-js";
import { type CacheClient, CacheClients, digestOf, wireDigest } from "../support/cache-client.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { ServerProcess } from "../support/server-process.ts";
import { type ActionLog, UploadLog } from "./crash-workload.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const LANES = 6;
const CONNECTIONS = 3;

/** Short runs of a server whose every system call can be hit; the same for the same seed but for the order. */
export interface SyscallWorkload {
  readonly name: string;
  readonly maxSize: string;
  readonly extraArguments: readonly string[];
  /** Whether the server is to end by SIGTERM, so that sealing and the checkpoint are hit, too. */
  readonly drains: boolean;
  /** Fills `directory` before the server under test starts. @returns what is in it. */
  prepare(directory: string): Promise<UploadLog>;
  /** Uploads; adds to the log. Errors that a failing disk excuses are noted as unanswered. */
  drive(server: ServerProcess, log: UploadLog): Promise<void>;
}

/** What a client may be told when the disk under the server fails; the log has the cause of what is internal. */
const EXCUSED = new Set<unknown>([status.UNAVAILABLE, status.RESOURCE_EXHAUSTED, status.INTERNAL]);

/** Runs an upload. @returns whether it was acknowledged. */
async function attempt(server: ServerProcess, log: UploadLog, what: string, work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    // How a connection breaks when the server is killed is not the server's choice.
    if (!EXCUSED.has(code) && server.running) log.faults.push(`${what}: ${String(error)}`);
    return false;
  }
}

/** Uploads blobs of these sizes in several lanes, and an action result after every third. */
async function uploadAll(
  server: ServerProcess,
  clients: CacheClients,
  log: UploadLog,
  options: { random: SeededRandom; sizes: readonly number[]; evictable?: boolean; actions?: readonly ActionLog[] },
): Promise<void> {
  const blobs = options.sizes.map((sizeBytes, position) => ({ position, content: options.random.bytes(sizeBytes) }));
  const queue = blobs.values();
  const lane = async (client: CacheClient): Promise<void> => {
    for (const { position, content } of queue) {
      const digest = digestOf(content);
      const kept = options.evictable === true ? log.evictable : log.acknowledged;
      const stored = await attempt(server, log, `blob of ${content.length} bytes`, client.write(content, { digest }));
      (stored ? kept : log.unanswered).push(digest);
      const action = options.actions?.[position % options.actions.length];
      if (action !== undefined && position % 3 === 2) await updateAction(server, client, log, action);
    }
  };
  await Promise.all(Array.from({ length: LANES }, (_, number) => lane(clients.at(number))));
}

async function updateAction(
  server: ServerProcess,
  client: CacheClient,
  log: UploadLog,
  action: ActionLog,
): Promise<void> {
  const file = log.acknowledged[0];
  if (file === undefined) return;
  action.sentVersion++;
  const version = action.sentVersion;
  const result = {
    stdout_raw: Buffer.from(`${version}`),
    output_files: [{ path: "out/file", digest: wireDigest(file) }],
  };
  const stored = await attempt(server, log, "action result", client.updateActionResult(action.action, result));
  // A later version may have been acknowledged meanwhile.
  if (stored) action.acknowledgedVersion = Math.max(action.acknowledgedVersion, version);
}

function newActions(names: readonly string[], evictable: boolean): ActionLog[] {
  return names.map((name) => ({
    action: digestOf(Buffer.from(name)),
    acknowledgedVersion: 0,
    sentVersion: 0,
    evictable,
  }));
}

/** Many small blobs and action results: group commits. */
export function smallBlobs(seed: string): SyscallWorkload {
  const sizes = [100, 4 * KIB, 1, 32 * KIB, 40 * KIB, 0, 300 * KIB, 4 * KIB + 1, 20 * KIB, 32 * KIB + 1, 5, 64 * KIB];
  return {
    name: "small",
    maxSize: "1GiB",
    extraArguments: ["--shards", "1", "--segment-size", "512KiB"],
    drains: false,
    prepare: () => Promise.resolve(new UploadLog()),
    async drive(server, log) {
      using clients = new CacheClients(server.endpoint, CONNECTIONS);
      const actions = newActions(["a", "b", "c", "d"], false);
      log.actions.push(...actions);
      await uploadAll(server, clients, log, { random: seededRandom(seed), sizes: [...sizes, ...sizes], actions });
    },
  };
}

/** Blobs in temp files: some are copied into segments, the others become segments themselves. */
export function largeBlobs(seed: string): SyscallWorkload {
  return {
    name: "large",
    maxSize: "1GiB",
    extraArguments: ["--shards", "1", "--segment-size", "2MiB"],
    drains: false,
    prepare: () => Promise.resolve(new UploadLog()),
    async drive(server, log) {
      using clients = new CacheClients(server.endpoint, CONNECTIONS);
      const actions = newActions(["e", "f"], false);
      log.actions.push(...actions);
      const sizes = [1.2 * MIB, 2.5 * MIB, 9 * MIB, 100 * KIB, 1.2 * MIB, 2 * MIB, 2.5 * MIB].map(Math.floor);
      await uploadAll(server, clients, log, { random: seededRandom(seed), sizes, actions });
    },
  };
}

/**
 * A directory that is nearly full and was left by a kill: the start recovers it, uploads make it retire its oldest
 * segments, copying what is leased; action results are replaced; the server drains at the end.
 * @param templateDirectory Where the nearly full directory is made once.
 */
export function retirement(seed: string, templateDirectory: string): SyscallWorkload {
  const extraArguments = ["--shards", "1", "--segment-size", "1MiB"];
  const maxSize = "32MiB";
  let template: Promise<UploadLog> | undefined;
  return {
    name: "retirement",
    maxSize,
    extraArguments,
    drains: true,
    async prepare(directory) {
      template ??= fillTemplate(templateDirectory, seed, { maxSize, extraArguments });
      const log = await template;
      cpSync(templateDirectory, directory, { recursive: true });
      const copy = UploadLog.joined([log]);
      // Versions go up in each run by themselves.
      copy.actions.splice(0, copy.actions.length, ...log.actions.map((action) => ({ ...action })));
      return copy;
    },
    async drive(server, log) {
      using clients = new CacheClients(server.endpoint, CONNECTIONS);
      const random = seededRandom(`${seed}/drive`);
      const renew = clients.at(0).findMissing(log.acknowledged);
      await attempt(server, log, "FindMissingBlobs", renew);
      for (const { action } of log.actions)
        await attempt(server, log, "GetActionResult", clients.at(0).getActionResult(action));
      const sizes = Array.from({ length: 24 }, () => 200 * KIB);
      await uploadAll(server, clients, log, { random, sizes, evictable: true, actions: log.actions });
    },
  };
}

async function fillTemplate(
  directory: string,
  seed: string,
  options: { maxSize: string; extraArguments: readonly string[] },
): Promise<UploadLog> {
  await using server = await ServerProcess.start({ directory, ...options });
  using clients = new CacheClients(server.endpoint, CONNECTIONS);
  const log = new UploadLog();
  const random = seededRandom(`${seed}/template`);
  const actions = newActions(["g", "h", "i"], false);
  log.actions.push(...actions);
  await uploadAll(server, clients, log, { random, sizes: Array.from({ length: 9 }, () => 60 * KIB), actions });
  await uploadAll(server, clients, log, {
    random,
    sizes: Array.from({ length: 138 }, () => 200 * KIB),
    evictable: true,
  });
  if (log.unanswered.length + log.faults.length > 0) throw new Error(`template: ${log.faults.join(", ")}`);
  return log;
}
