import { readdirSync, readFileSync } from "node:fs";

/** Linux counts CPU time in hundredths of a second, whatever the kernel's own clock (sysconf(_SC_CLK_TCK)). */
const TICKS_PER_SECOND = 100;
const MIB = 1024 * 1024;

/** Watches another process and its children through /proc: CPU time, and the peak of resident memory while watched. */
export class ProcessMeter implements Disposable {
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  readonly #cpuSecondsAtStart: number;
  readonly #threadCpuSecondsAtStart: Readonly<Record<string, number>>;
  #rssPeakMib = 0;

  constructor(pid: number, sampleIntervalMs = 20) {
    this.#pid = pid;
    this.#cpuSecondsAtStart = cpuSeconds(pid);
    this.#threadCpuSecondsAtStart = cpuSecondsByThreadName(pid);
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), sampleIntervalMs);
  }

  get cpuSeconds(): number {
    return cpuSeconds(this.#pid) - this.#cpuSecondsAtStart;
  }

  /** Of the threads that are still there, by name, as the system knows it. */
  get threadCpuSeconds(): Record<string, number> {
    const now = Object.entries(cpuSecondsByThreadName(this.#pid));
    return Object.fromEntries(
      now.map(([name, seconds]) => [name, seconds - (this.#threadCpuSecondsAtStart[name] ?? 0)]),
    );
  }

  get rssPeakMib(): number {
    this.#sample();
    return this.#rssPeakMib;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    const bytes = processTree(this.#pid).reduce((sum, pid) => sum + statusBytes(pid, "VmRSS"), 0);
    this.#rssPeakMib = Math.max(this.#rssPeakMib, bytes / MIB);
  }
}

/** The process and all that it has started. */
function processTree(pid: number): number[] {
  const children = readProc(pid, `task/${pid}/children`).split(" ").filter(Boolean).map(Number);
  return [pid, ...children.flatMap((child) => processTree(child))];
}

/** User and system time of all threads; 0 where there is no /proc. */
function cpuSeconds(rootPid: number): number {
  return processTree(rootPid).reduce((sum, pid) => sum + parseStat(readProc(pid, "stat")).cpuSeconds, 0);
}

function cpuSecondsByThreadName(rootPid: number): Record<string, number> {
  const seconds: Record<string, number> = {};
  for (const pid of processTree(rootPid)) {
    for (const thread of threads(pid)) {
      const stat = parseStat(readProc(pid, `task/${thread}/stat`));
      seconds[stat.name] = (seconds[stat.name] ?? 0) + stat.cpuSeconds;
    }
  }
  return seconds;
}

function parseStat(stat: string): { name: string; cpuSeconds: number } {
  // The name in field 2 may hold spaces; utime and stime are fields 14 and 15.
  const nameEnd = stat.lastIndexOf(")");
  const fields = stat.slice(nameEnd + 2).split(" ");
  const ticks = Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  return { name: stat.slice(stat.indexOf("(") + 1, nameEnd), cpuSeconds: ticks / TICKS_PER_SECOND };
}

function threads(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
}

function statusBytes(pid: number, field: string): number {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(readProc(pid, "status"));
  return Number(line?.[1] ?? 0) * 1024;
}

function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return "";
  }
}
