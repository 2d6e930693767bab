/**
 * A build as its cache saw it, as a text of lines; blobs go by number, and number ranges are written `0-4,7`:
 *
 *     blobs <size>,<size>,…              of each blob, by number
 *     tree <blob> <blobs>                a blob that is a Tree message, and the files that it lists
 *     phase <name> <actions in flight>   at most; actions begin in their order
 *     action <number> <step>;<step>;…    the steps of an action come one after another
 *
 * The calls of a step are made together: `hit` and `miss` (GetActionResult), `find <blobs>`, `write <blobs>` and
 * `read <blobs>` (a call for each blob), `update <output files>/<output trees>/<stdout, stderr>`.
 */
export interface Recording {
  readonly blobBytes: readonly number[];
  /** Files of each Tree, by the blob that is the Tree. */
  readonly trees: ReadonlyMap<number, readonly number[]>;
  readonly phases: readonly RecordedPhase[];
}

export interface RecordedPhase {
  readonly name: string;
  readonly actionsInFlight: number;
  readonly actions: readonly RecordedAction[];
}

export interface RecordedAction {
  /** The same in each phase. */
  readonly number: number;
  readonly steps: readonly (readonly RecordedCalls[])[];
}

export type RecordedCalls =
  | { readonly kind: "hit" }
  | { readonly kind: "miss" }
  | { readonly kind: "find" | "write" | "read"; readonly blobs: readonly number[] }
  | {
      readonly kind: "update";
      readonly files: readonly number[];
      readonly trees: readonly number[];
      readonly streams: readonly number[];
    };

export function encodeRecording({ blobBytes, trees, phases }: Recording): string {
  const lines = [`blobs ${blobBytes.join(",")}`];
  for (const [tree, files] of trees) lines.push(`tree ${tree} ${encodeNumbers(files)}`);
  for (const { name, actionsInFlight, actions } of phases) {
    lines.push(`phase ${name} ${actionsInFlight}`);
    for (const { number, steps } of actions) {
      lines.push(`action ${number} ${steps.map((calls) => calls.map(encodeCalls).join("+")).join(";")}`);
    }
  }
  return `${lines.join("\n")}\n`;
}

/** @throws where a line is not of the format. */
export function decodeRecording(text: string): Recording {
  let blobBytes: number[] = [];
  const trees = new Map<number, number[]>();
  const phases: { name: string; actionsInFlight: number; actions: RecordedAction[] }[] = [];
  for (const line of text.trimEnd().split("\n")) {
    const [word = "", first = "", ...rest] = line.split(" ");
    const last = rest.join(" ");
    if (word === "blobs") blobBytes = first.split(",").map(toNumber);
    else if (word === "tree") trees.set(toNumber(first), decodeNumbers(last));
    else if (word === "phase") phases.push({ name: first, actionsInFlight: toNumber(last), actions: [] });
    else if (word === "action") {
      const steps = last.split(";").map((step) => step.split("+").map(decodeCalls));
      phases.at(-1)?.actions.push({ number: toNumber(first), steps });
    } else throw new SyntaxError(`not a line of a recording: ${line.slice(0, 80)}`);
  }
  return { blobBytes, trees, phases };
}

function encodeCalls(calls: RecordedCalls): string {
  if ("blobs" in calls) return `${calls.kind} ${encodeNumbers(calls.blobs)}`;
  if (calls.kind !== "update") return calls.kind;
  return `update ${[calls.files, calls.trees, calls.streams].map(encodeNumbers).join("/")}`;
}

function decodeCalls(text: string): RecordedCalls {
  const [kind = "", operand = ""] = text.split(" ");
  if (kind === "hit" || kind === "miss") return { kind };
  if (kind === "find" || kind === "write" || kind === "read") return { kind, blobs: decodeNumbers(operand) };
  const [files = "", trees = "", streams = ""] = operand.split("/");
  if (kind === "update")
    return { kind, files: decodeNumbers(files), trees: decodeNumbers(trees), streams: decodeNumbers(streams) };
  throw new SyntaxError(`no kind of call: ${text.slice(0, 80)}`);
}

function encodeNumbers(numbers: readonly number[]): string {
  const ranges: [first: number, last: number][] = [];
  for (const number of numbers) {
    const range = ranges.at(-1);
    if (range !== undefined && number === range[1] + 1) range[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

function decodeNumbers(text: string): number[] {
  if (text === "") return [];
  return text.split(",").flatMap((range) => {
    const [first = Number.NaN, last = first] = range.split("-").map(toNumber);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

function toNumber(text: string): number {
  if (!/^\d+$/.test(text)) throw new SyntaxError(`not a number: ${text.slice(0, 80)}`);
  return Number(text);
}
