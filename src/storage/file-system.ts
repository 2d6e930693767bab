import {
  close,
  closeSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  open,
  openSync,
  read,
  readdirSync,
  readSync,
  renameSync,
  unlinkSync,
  write,
  writevSync,
} from "node:fs";
import { promisify } from "node:util";

/** How a file is opened: `create` fails where the name is taken. */
export type OpenMode = "read" | "update" | "create";
const OPEN_FLAGS = { read: "r", update: "r+", create: "wx+" } as const;

/**
 * What the engine asks of a file system. Shard workers use the synchronous calls (each is its own thread, and the
 * libuv pool stays free for reads); the main thread uses the asynchronous ones. Every call may do less than asked
 * (short reads and writes) and the engine loops. Tests put a disk behind this that forgets what was not synced,
 * tears, fails and fills up. Errors are those of Node, with their `code`.
 */
export interface FileSystem {
  makeDirectory(path: string): void;
  listDirectory(path: string): string[];
  /** Makes new names, renames and removals in a directory durable. */
  syncDirectory(path: string): void;
  open(path: string, mode: OpenMode): number;
  close(fd: number): void;
  sizeOf(fd: number): number;
  /** When the file was last written to, in milliseconds since the epoch. */
  modifiedAtMs(fd: number): number;
  /** @returns bytes read: 0 at the end of the file. */
  read(fd: number, target: Uint8Array, position: number): number;
  /** @returns bytes written, possibly fewer than given. */
  writeVector(fd: number, sources: readonly Uint8Array[], position: number): number;
  truncate(fd: number, bytes: number): void;
  /** `fdatasync`: contents and the size are durable when it returns. */
  syncData(fd: number): void;
  rename(from: string, to: string): void;
  remove(path: string): void;

  openAsync(path: string, mode: OpenMode): Promise<number>;
  closeAsync(fd: number): Promise<void>;
  readAsync(fd: number, target: Uint8Array, position: number): Promise<number>;
  writeAsync(fd: number, source: Uint8Array, position: number): Promise<number>;
  syncDataAsync(fd: number): Promise<void>;
}

const openPromise = promisify(open);
const closePromise = promisify(close);
const syncDataPromise = promisify(fdatasync);

export const nodeFileSystem: FileSystem = {
  makeDirectory: (path) => void mkdirSync(path, { recursive: true }),
  listDirectory: (path) => readdirSync(path),
  syncDirectory(path) {
    const fd = openSync(path, "r");
    try {
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
  },
  open: (path, mode) => openSync(path, OPEN_FLAGS[mode]),
  close: closeSync,
  sizeOf: (fd) => fstatSync(fd).size,
  modifiedAtMs: (fd) => fstatSync(fd).mtimeMs,
  read: (fd, target, position) => readSync(fd, target, 0, target.byteLength, position),
  writeVector: (fd, sources, position) => writevSync(fd, sources, position),
  truncate: ftruncateSync,
  syncData: fdatasyncSync,
  rename: renameSync,
  remove: unlinkSync,

  openAsync: (path, mode) => openPromise(path, OPEN_FLAGS[mode]),
  closeAsync: closePromise,
  readAsync: (fd, target, position) =>
    new Promise((resolve, reject) => {
      read(fd, target, 0, target.byteLength, position, (error, bytes) => (error ? reject(error) : resolve(bytes)));
    }),
  writeAsync: (fd, source, position) =>
    new Promise((resolve, reject) => {
      write(fd, source, 0, source.byteLength, position, (error, bytes) => (error ? reject(error) : resolve(bytes)));
    }),
  syncDataAsync: syncDataPromise,
};

/** Reads until `target` is full or the file ends. @returns bytes read. */
export function readFully(fileSystem: FileSystem, fd: number, target: Uint8Array, position: number): number {
  let done = 0;
  while (done < target.byteLength) {
    const bytes = fileSystem.read(fd, target.subarray(done), position + done);
    if (bytes === 0) break;
    done += bytes;
  }
  return done;
}

/** Like {@link readFully}, without blocking the thread. */
export async function readFullyAsync(
  fileSystem: FileSystem,
  fd: number,
  target: Uint8Array,
  position: number,
): Promise<number> {
  let done = 0;
  while (done < target.byteLength) {
    const bytes = await fileSystem.readAsync(fd, done === 0 ? target : target.subarray(done), position + done);
    if (bytes === 0) break;
    done += bytes;
  }
  return done;
}

/** Writes every byte of `sources`, however short the single writes are. */
export function writeFully(fileSystem: FileSystem, fd: number, sources: readonly Uint8Array[], position: number): void {
  let rest = sources.filter((source) => source.byteLength > 0);
  let at = position;
  while (rest.length > 0) {
    let written = fileSystem.writeVector(fd, rest, at);
    if (written <= 0) throw new Error(`write at ${at}: expected progress, got ${written} bytes`);
    at += written;
    let whole = 0;
    for (const source of rest) {
      if (written < source.byteLength) break;
      written -= source.byteLength;
      whole += 1;
    }
    rest = rest.slice(whole);
    const partial = rest[0];
    if (partial !== undefined && written > 0) rest[0] = partial.subarray(written);
  }
}

/** Like {@link writeFully} for one buffer, without blocking the thread. */
export async function writeFullyAsync(
  fileSystem: FileSystem,
  fd: number,
  source: Uint8Array,
  position: number,
): Promise<void> {
  let done = 0;
  while (done < source.byteLength) {
    const written = await fileSystem.writeAsync(fd, source.subarray(done), position + done);
    if (written <= 0) throw new Error(`write at ${position + done}: expected progress, got ${written} bytes`);
    done += written;
  }
}

/** Removes a file that may be gone already. */
export function removeIfThere(fileSystem: FileSystem, path: string): void {
  try {
    fileSystem.remove(path);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}

/** Removes a file that is in nobody's way: what cannot be removed now is removed at the next start. */
export function removeQuietly(fileSystem: FileSystem, path: string): void {
  try {
    fileSystem.remove(path);
  } catch {
    // See above.
  }
}

/** A want of descriptors or memory: it passes, and says nothing of the file (HAZARDS H9). */
export function isPassing(error: unknown): boolean {
  return PASSING.has(errorCode(error));
}

const PASSING: ReadonlySet<string | undefined> = new Set(["EMFILE", "ENFILE", "ENOMEM"]);

/** The `code` of an error from the file system (`ENOSPC`, `ENOENT`, ...), or undefined. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
