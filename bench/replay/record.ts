/**
 * `npm run bench:record -- COLD_LOG WARM_LOG OUT`: makes a recording of two logs that Bazel has written, of a build
 * that finds nothing in the cache and of the next one, which finds everything. See ../README.md for how to get them.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { decodeGrpcLog, type LoggedBlob, type LoggedCall } from "./grpc-log.ts";
import { encodeRecording, type RecordedAction, type RecordedCalls, type RecordedPhase } from "./recording.ts";

/** Numbers for blobs and actions, in the order in which they are seen. */
class Numbers {
  readonly #numbers = new Map<string, number>();

  of(name: string): number {
    const number = this.#numbers.get(name) ?? this.#numbers.size;
    this.#numbers.set(name, number);
    return number;
  }
}

const METHODS: Readonly<Record<string, "find" | "write" | "read">> = {
  FindMissingBlobs: "find",
  Write: "write",
  Read: "read",
};

const actionNumbers = new Numbers();
const blobNumbers = new Numbers();
const blobBytes: number[] = [];
const trees = new Map<number, number[]>();

const [coldPath = "", warmPath = "", outPath = ""] = process.argv.slice(2);
const phases: RecordedPhase[] = [];
const logs = { cold: decodeGrpcLog(readFileSync(coldPath)), warm: decodeGrpcLog(readFileSync(warmPath)) };
for (const [name, calls] of Object.entries(logs)) phases.push(recordPhase(name, calls));
listTrees(phases);
writeFileSync(outPath, encodeRecording({ blobBytes, trees, phases }));

function recordPhase(name: string, log: readonly LoggedCall[]): RecordedPhase {
  const calls = log
    .filter(({ method }) => method !== "GetCapabilities")
    .toSorted((a, b) => a.startMs - b.startMs || a.endMs - b.endMs);
  const byAction = [...Map.groupBy(calls, (call) => call.action).values()];
  const actions = byAction.map(recordAction);
  return { name, actionsInFlight: mostAtOnce(byAction), actions };
}

/** A call that began after all earlier ones had ended may have waited for them: it begins a step. */
function recordAction(calls: readonly LoggedCall[]): RecordedAction {
  const steps: LoggedCall[][] = [];
  let endMs = Number.NEGATIVE_INFINITY;
  for (const call of calls) {
    if (call.startMs >= endMs) steps.push([]);
    steps.at(-1)?.push(call);
    endMs = Math.max(endMs, call.endMs);
  }
  return { number: actionNumbers.of(calls[0]?.action ?? ""), steps: steps.map(recordStep) };
}

function recordStep(calls: readonly LoggedCall[]): RecordedCalls[] {
  return [...Map.groupBy(calls, (call) => call.method).values()].flatMap((alike): RecordedCalls[] => {
    const [first] = alike;
    if (first === undefined) return [];
    const kind = METHODS[first.method];
    if (kind === "find") return alike.map(({ blobs }) => ({ kind, blobs: blobs.map(numberOf) }));
    if (kind !== undefined) return [{ kind, blobs: alike.flatMap(({ blobs }) => blobs.map(numberOf)) }];
    if (first.method === "GetActionResult") return alike.map(({ isOk }) => ({ kind: isOk ? "hit" : "miss" }));
    if (first.method !== "UpdateActionResult") throw new Error(`a call of ${first.method} cannot be recorded`);
    return alike.map(({ outputs }) => ({
      kind: "update",
      files: outputs.files.map(numberOf),
      trees: outputs.trees.map(numberOf),
      streams: outputs.streams.map(numberOf),
    }));
  });
}

function numberOf({ hash, sizeBytes }: LoggedBlob): number {
  const number = blobNumbers.of(hash);
  blobBytes[number] = sizeBytes;
  return number;
}

/** What an action reads and its result does not name is listed by its Trees; which one of several, no log says. */
function listTrees([cold, warm]: readonly RecordedPhase[]): void {
  for (const { number, steps } of cold?.actions ?? []) {
    const updates = steps.flat().filter((calls) => calls.kind === "update");
    const named = new Set(updates.flatMap(({ files, trees: own, streams }) => [...files, ...own, ...streams]));
    const reads = warm?.actions.find((action) => action.number === number)?.steps.flat() ?? [];
    const blobs = reads.flatMap((calls) => (calls.kind === "read" ? calls.blobs : []));
    const listed = blobs.filter((blob) => !named.has(blob)).toSorted((a, b) => a - b);
    updates.flatMap((update) => update.trees).forEach((tree, i) => trees.set(tree, i === 0 ? listed : []));
  }
}

function mostAtOnce(actions: readonly (readonly LoggedCall[])[]): number {
  const edges = actions.flatMap((calls) => [
    { atMs: Math.min(...calls.map((call) => call.startMs)), change: 1 },
    { atMs: Math.max(...calls.map((call) => call.endMs)), change: -1 },
  ]);
  let inFlight = 0;
  let most = 0;
  for (const { change } of edges.toSorted((a, b) => a.atMs - b.atMs || a.change - b.change)) {
    inFlight += change;
    most = Math.max(most, inFlight);
  }
  return most;
}
