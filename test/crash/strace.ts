import { readFileSync } from "node:fs";
import type { RequiredProgram } from "../support/debian-packages.ts";

export const STRACE: RequiredProgram = { program: "strace", packages: ["strace"] };

/** What the engine changes the disk with; `pwritev` are vectored writes, `pwrite64` those of a single buffer. */
export const WRITE_PATH_CALLS = ["pwritev", "pwrite64", "fdatasync", "fsync", "ftruncate", "rename", "unlink"] as const;
export type WritePathCall = (typeof WRITE_PATH_CALLS)[number];

/** What strace does at the `nth` call of one thread. */
export interface Injection {
  readonly call: WritePathCall;
  /** From 1; counted in each thread of its own. */
  readonly nth: number;
  /** Also at every later one. */
  readonly onwards?: boolean;
  /** As strace writes it: `signal=SIGKILL` kills before the call is done, `error=EIO` fails it without doing it. */
  readonly effect: string;
}

/**
 * The command in front of the server. `-D` makes strace a grandchild, so that the process that is started is the
 * server itself. With `--seccomp-bpf` only the named calls stop and the rest runs at full speed; but where such a stop
 * is to bring a signal, the kernel drops it (seen with strace 6.1 on Linux 6.18), so a kill has to do without.
 */
export function straceCommand(logPath: string, injections: readonly Injection[]): string[] {
  const calls = injections.length === 0 ? WRITE_PATH_CALLS : [...new Set(injections.map(({ call }) => call))];
  const injected = injections.flatMap(({ call, nth, onwards, effect }) => [
    "-e",
    `inject=${call}:${effect}:when=${nth}${onwards === true ? "+" : ""}`,
  ]);
  const fast = injections.some(({ effect }) => effect.startsWith("signal=")) ? [] : ["--seccomp-bpf"];
  const quiet = ["-qq", "-e", "signal=none", "-o", logPath];
  return ["strace", "-D", "-f", ...fast, ...quiet, "-e", `trace=${calls.join(",")}`, ...injected];
}

/** One thread's calls: libuv's pool is a single thread then, so that its calls are counted in one row, too. */
export const ONE_POOL_THREAD = { UV_THREADPOOL_SIZE: "1" };

/** How often the busiest thread made each call. */
export function callCounts(logPath: string): Map<WritePathCall, number> {
  const perThread = new Map<string, number>();
  const counts = new Map<WritePathCall, number>();
  for (const line of readFileSync(logPath, "latin1").split("\n")) {
    const [, thread, call] = /^(\d+) +(\w+)\(/.exec(line) ?? [];
    const known = WRITE_PATH_CALLS.find((name) => name === call);
    if (known === undefined) continue;
    const slot = `${thread} ${known}`;
    const count = (perThread.get(slot) ?? 0) + 1;
    perThread.set(slot, count);
    counts.set(known, Math.max(count, counts.get(known) ?? 0));
  }
  return counts;
}

/** How many calls were tampered with. */
export function injectedCount(logPath: string): number {
  return readFileSync(logPath, "latin1").split("(INJECTED)").length - 1;
}
