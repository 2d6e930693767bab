import { basename, dirname } from "node:path";
import { fileError } from "./faulty-file-system.ts";
import type { SimulatedFile, PowerCut } from "./simulated-file.ts";

type Directories = Map<string, Map<string, SimulatedFile>>;

/** A change of names that a power cut may undo. */
interface NameChange {
  /** Directories by whose sync it becomes durable; a power cut undoes the last changes of the first one. */
  readonly directories: readonly string[];
  readonly apply: (directories: Directories) => void;
}

/**
 * The names on a simulated disk, as processes see them and as a power cut would leave them. What is promised is what
 * journalling file systems keep (ext4, xfs): changes of one directory reach the disk in their order, a rename is there
 * or not, and syncing a directory makes its changes durable. Syncing a file does not make its name durable.
 */
export class SimulatedNames {
  #now: Directories = new Map();
  #durable: Directories = new Map();
  #pending: NameChange[] = [];
  /** Directories whose own name is durable. */
  readonly #reachable = new Set<string>();

  /** @param mountPoint A directory that is there and stays. */
  constructor(mountPoint: string) {
    this.#now.set(mountPoint, new Map());
    this.#durable.set(mountPoint, new Map());
    this.#reachable.add(mountPoint);
  }

  find(path: string): SimulatedFile | undefined {
    return this.#now.get(dirname(path))?.get(basename(path));
  }

  hasDirectory(path: string): boolean {
    return this.#now.has(path);
  }

  list(directory: string): string[] {
    return [...this.#directory(directory).keys()];
  }

  *files(): Generator<[path: string, file: SimulatedFile]> {
    for (const [directory, files] of this.#now) for (const [name, file] of files) yield [`${directory}/${name}`, file];
  }

  makeDirectory(path: string): void {
    if (this.#now.has(path)) return;
    this.makeDirectory(dirname(path));
    this.#now.set(path, new Map());
    // What is synced in it is durable, but to no avail before its own name is.
    this.#durable.set(path, new Map());
    this.#pending.push({ directories: [dirname(path)], apply: () => this.#reachable.add(path) });
  }

  create(path: string, file: SimulatedFile): void {
    const directory = dirname(path);
    if (this.#directory(directory).has(basename(path))) throw fileError("EEXIST");
    this.#change([directory], (directories) => directories.get(directory)?.set(basename(path), file));
  }

  /** @returns the file that has no name any more. */
  remove(path: string): SimulatedFile {
    const file = this.#fileAt(path);
    this.#change([dirname(path)], (directories) => forget(directories, path, file));
    return file;
  }

  /** @returns the file that `to` stood for before. */
  rename(from: string, to: string): SimulatedFile | undefined {
    const file = this.#fileAt(from);
    const replaced = this.#directory(dirname(to)).get(basename(to));
    this.#change([dirname(to), dirname(from)], (directories) => {
      const target = directories.get(dirname(to));
      if (target === undefined) return;
      forget(directories, from, file);
      target.set(basename(to), file);
    });
    return replaced;
  }

  sync(directory: string): void {
    this.#directory(directory);
    this.#pending = this.#pending.filter((change) => {
      if (!change.directories.includes(directory)) return true;
      change.apply(this.#durable);
      return false;
    });
  }

  /** Keeps the first changes of each directory, how many chance decides, and undoes the others. */
  cutPower({ random, survival }: PowerCut): void {
    const broken = new Set<string>();
    for (const change of this.#pending) {
      const [directory = ""] = change.directories;
      if (!broken.has(directory) && random.fraction() < survival) change.apply(this.#durable);
      else broken.add(directory);
    }
    this.#pending = [];
    this.#dropLostDirectories();
    this.#now = new Map([...this.#durable].map(([path, files]) => [path, new Map(files)]));
  }

  /** A directory is gone with its parent's entry for it. */
  #dropLostDirectories(): void {
    for (const path of [...this.#durable.keys()].toSorted((a, b) => a.length - b.length)) {
      if (this.#reachable.has(path) && (this.#reachable.has(dirname(path)) || dirname(path) === "/")) continue;
      this.#reachable.delete(path);
      this.#durable.delete(path);
    }
  }

  #change(directories: readonly string[], apply: (directories: Directories) => void): void {
    apply(this.#now);
    this.#pending.push({ directories, apply });
  }

  #directory(path: string): Map<string, SimulatedFile> {
    const files = this.#now.get(path);
    if (files === undefined) throw fileError("ENOENT");
    return files;
  }

  #fileAt(path: string): SimulatedFile {
    const file = this.find(path);
    if (file === undefined) throw fileError("ENOENT");
    return file;
  }
}

/** Only where the name stands for that file: a later one may have it. */
function forget(directories: Directories, path: string, file: SimulatedFile): void {
  const files = directories.get(dirname(path));
  if (files?.get(basename(path)) === file) files.delete(basename(path));
}
