import { execFileSync } from "node:child_process";
import { cpus } from "node:os";

/** From util-linux; Linux only. */
const TASKSET = ["taskset", "-c"];

/** A wrapper for a command that is to run on these cores. @param cpuList such as `0` or `0,1`. */
export function onCpus(cpuList: string | undefined): string[] {
  return cpuList === undefined ? [] : [...TASKSET, cpuList];
}

/** Leaves these cores to the server: this process and its threads go to the others. @throws where none is left. */
export function keepOffCpus(cpuList: string): void {
  const taken = new Set(cpuList.split(",").map(Number));
  const others = [...cpus().keys()].filter((cpu) => !taken.has(cpu));
  if (others.length === 0) throw new RangeError(`--pin-server ${cpuList}: no core is left for the load`);
  const [program = "", ...rest] = TASKSET;
  // Every thread that is there already; later ones inherit it.
  execFileSync(program, [...rest, "-a", "-p", others.join(","), `${process.pid}`], { stdio: "ignore" });
}
