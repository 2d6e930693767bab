import { readFileSync } from "node:fs";

/** Linux counts CPU time in hundredths of a second, whatever the kernel's own clock (sysconf(_SC_CLK_TCK)). */
const TICKS_PER_SECOND = 100;
const MIB = 1024 * 1024;

/** Watches another process through /proc: CPU time, and the peak of its resident memory while it is watched. */
export class ProcessMeter implements Disposable {
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;
  readonly #cpuSecondsAtStart: number;
  #rssPeakMib = 0;

  constructor(pid: number, sampleIntervalMs = 20) {
    this.#pid = pid;
    this.#cpuSecondsAtStart = cpuSeconds(pid);
    this.#sample();
    this.#timer = setInterval(() => this.#sample(), sampleIntervalMs);
  }

  get cpuSeconds(): number {
    return cpuSeconds(this.#pid) - this.#cpuSecondsAtStart;
  }

  get rssPeakMib(): number {
    this.#sample();
    return this.#rssPeakMib;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    this.#rssPeakMib = Math.max(this.#rssPeakMib, statusBytes(this.#pid, "VmRSS") / MIB);
  }
}

/** User and system time of all threads; 0 where there is no /proc. */
function cpuSeconds(pid: number): number {
  const stat = readProc(pid, "stat");
  // The name in field 2 may hold spaces; utime and stime are fields 14 and 15.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / TICKS_PER_SECOND;
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
