import { basename } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { type FileSystem, nodeFileSystem, type OpenMode } from "../../src/storage/file-system.ts";

/** One call of a file system, as it is about to be made. */
export interface FileCall {
  readonly name: keyof FileSystem;
  /** Base name of the file or directory. */
  readonly file: string;
}

/** An error as Node reports it. */
export function fileError(code: string): Error {
  return Object.assign(new Error(`${code}: injected`), { code });
}

/**
 * The real file system, and what tests do to it: every call is recorded, may be made to fail by `before`, writes and
 * reads may be short, and asynchronous calls may take some turns of the event loop.
 */
export class FaultyFileSystem implements FileSystem {
  readonly calls: FileCall[] = [];
  /** Called before every call; what it throws is what the caller gets. */
  before: (call: FileCall) => void = () => undefined;
  writeBytesMax = Number.POSITIVE_INFINITY;
  readBytesMax = Number.POSITIVE_INFINITY;
  delayTurns = 0;
  readonly #pathOfFd = new Map<number, string>();

  /** Files that were opened and not closed. */
  get openFiles(): string[] {
    return [...this.#pathOfFd.values()];
  }

  /** Calls of these names, as `name file`, in order. */
  history(...names: (keyof FileSystem)[]): string[] {
    return this.calls.filter(({ name }) => names.includes(name)).map(({ name, file }) => `${name} ${file}`);
  }

  /** Lets the `count`th call from now that `matches` fail, and only that one. */
  failOnce(matches: (call: FileCall) => boolean, code: string, count = 1): void {
    let left = count;
    this.before = (call) => {
      if (!matches(call)) return;
      left -= 1;
      if (left === 0) throw fileError(code);
    };
  }

  makeDirectory(path: string): void {
    this.#note("makeDirectory", path);
    nodeFileSystem.makeDirectory(path);
  }
  listDirectory(path: string): string[] {
    this.#note("listDirectory", path);
    return nodeFileSystem.listDirectory(path);
  }
  syncDirectory(path: string): void {
    this.#note("syncDirectory", path);
    nodeFileSystem.syncDirectory(path);
  }
  open(path: string, mode: OpenMode): number {
    this.#note("open", path);
    return this.#opened(nodeFileSystem.open(path, mode), path);
  }
  close(fd: number): void {
    this.#note("close", this.#pathOf(fd));
    this.#pathOfFd.delete(fd);
    nodeFileSystem.close(fd);
  }
  sizeOf(fd: number): number {
    this.#note("sizeOf", this.#pathOf(fd));
    return nodeFileSystem.sizeOf(fd);
  }
  modifiedAtMs(fd: number): number {
    this.#note("modifiedAtMs", this.#pathOf(fd));
    return nodeFileSystem.modifiedAtMs(fd);
  }
  read(fd: number, target: Uint8Array, position: number): number {
    this.#note("read", this.#pathOf(fd));
    return nodeFileSystem.read(fd, cut(target, this.readBytesMax), position);
  }
  writeVector(fd: number, sources: readonly Uint8Array[], position: number): number {
    this.#note("writeVector", this.#pathOf(fd));
    return nodeFileSystem.writeVector(fd, cutVector(sources, this.writeBytesMax), position);
  }
  truncate(fd: number, bytes: number): void {
    this.#note("truncate", this.#pathOf(fd));
    nodeFileSystem.truncate(fd, bytes);
  }
  syncData(fd: number): void {
    this.#note("syncData", this.#pathOf(fd));
    nodeFileSystem.syncData(fd);
  }
  rename(from: string, to: string): void {
    this.#note("rename", to);
    nodeFileSystem.rename(from, to);
  }
  remove(path: string): void {
    this.#note("remove", path);
    nodeFileSystem.remove(path);
  }

  async openAsync(path: string, mode: OpenMode): Promise<number> {
    await this.#delay();
    this.#note("openAsync", path);
    return this.#opened(await nodeFileSystem.openAsync(path, mode), path);
  }
  async closeAsync(fd: number): Promise<void> {
    await this.#delay();
    const path = this.#pathOf(fd);
    this.#pathOfFd.delete(fd);
    await nodeFileSystem.closeAsync(fd);
    // Like Linux, which gives the descriptor back also when it reports an error.
    this.#note("closeAsync", path);
  }
  async readAsync(fd: number, target: Uint8Array, position: number): Promise<number> {
    await this.#delay();
    this.#note("readAsync", this.#pathOf(fd));
    return nodeFileSystem.readAsync(fd, cut(target, this.readBytesMax), position);
  }
  async writeAsync(fd: number, source: Uint8Array, position: number): Promise<number> {
    await this.#delay();
    this.#note("writeAsync", this.#pathOf(fd));
    return nodeFileSystem.writeAsync(fd, cut(source, this.writeBytesMax), position);
  }
  async syncDataAsync(fd: number): Promise<void> {
    await this.#delay();
    this.#note("syncDataAsync", this.#pathOf(fd));
    await nodeFileSystem.syncDataAsync(fd);
  }

  #note(name: keyof FileSystem, path: string): void {
    const call = { name, file: basename(path) };
    this.calls.push(call);
    this.before(call);
  }

  #opened(fd: number, path: string): number {
    this.#pathOfFd.set(fd, path);
    return fd;
  }

  #pathOf(fd: number): string {
    const path = this.#pathOfFd.get(fd);
    if (path === undefined) throw fileError("EBADF");
    return path;
  }

  async #delay(): Promise<void> {
    for (let i = 0; i < this.delayTurns; i += 1) await turn();
  }
}

function cut(bytes: Uint8Array, bytesMax: number): Uint8Array {
  return bytes.byteLength <= bytesMax ? bytes : bytes.subarray(0, bytesMax);
}

function cutVector(sources: readonly Uint8Array[], bytesMax: number): Uint8Array[] {
  const kept: Uint8Array[] = [];
  let left = bytesMax;
  for (const source of sources) {
    if (left <= 0) break;
    kept.push(cut(source, left));
    left -= source.byteLength;
  }
  return kept;
}
