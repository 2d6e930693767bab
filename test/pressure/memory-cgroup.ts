import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

interface Hierarchy {
  readonly root: string;
  readonly limitFile: string;
  readonly peakFile: string;
}

const V2: Hierarchy = { root: "/sys/fs/cgroup", limitFile: "memory.max", peakFile: "memory.peak" };
const V1: Hierarchy = {
  root: "/sys/fs/cgroup/memory",
  limitFile: "memory.limit_in_bytes",
  peakFile: "memory.max_usage_in_bytes",
};

/** A memory cgroup of its own for one process: what takes more than the limit is ended by the system. */
export class MemoryCgroup implements Disposable {
  readonly #path: string;
  readonly #hierarchy: Hierarchy;

  private constructor(hierarchy: Hierarchy, limitBytes: number) {
    this.#hierarchy = hierarchy;
    this.#path = join(hierarchy.root, `kura-pressure-${process.pid}`);
    mkdirSync(this.#path);
    try {
      writeFileSync(join(this.#path, hierarchy.limitFile), `${limitBytes}`);
    } catch (error) {
      this[Symbol.dispose]();
      throw error;
    }
  }

  /** @returns undefined where the system lets this process make none. */
  static tryMake(limitBytes: number): MemoryCgroup | undefined {
    try {
      return new MemoryCgroup(hierarchyHere(), limitBytes);
    } catch {
      return undefined;
    }
  }

  /** A command that runs what follows it in the cgroup, under the same process id. */
  get wrapper(): string[] {
    return ["sh", "-c", `echo $$ > ${join(this.#path, "cgroup.procs")} && exec "$@"`, "sh"];
  }

  /** Page cache and the kernel's own included; 0 where the system does not tell. */
  get peakBytes(): number {
    const path = join(this.#path, this.#hierarchy.peakFile);
    return existsSync(path) ? Number(readFileSync(path, "utf8")) : 0;
  }

  /** Once its process is gone. */
  [Symbol.dispose](): void {
    rmdirSync(this.#path);
  }
}

function hierarchyHere(): Hierarchy {
  const controllers = join(V2.root, "cgroup.subtree_control");
  return existsSync(controllers) && readFileSync(controllers, "utf8").includes("memory") ? V2 : V1;
}
