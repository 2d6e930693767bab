import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { DetachedEntry } from "../../cache/entry-store.ts";
import type { Clock } from "../../clock.ts";
import type { Timer, Timers } from "../../timers.ts";
import { readFully, removeQuietly, writeFully } from "../file-system.ts";
import { payloadChecksum } from "./note-upload.ts";
import { type DetachedUpload, stagedFileBytes, type StagingContext } from "./staged-upload.ts";
import {
  decodeStagingHead,
  encodeStagingHead,
  freshStagingHead,
  hashUploadName,
  STAGING_HEAD_BYTES,
  type StagingHead,
  trustedBytes,
} from "./staging-head.ts";
import { stagingNamesOf } from "./staging-paths.ts";

export interface LeftUploadsOptions {
  readonly staging: StagingContext;
  readonly directory: string;
  /** Kept free below the ledger's limit. */
  readonly keepFreeBytes: number;
  /** Uploads that are kept. Past any of the bounds those go that were written to the longest ago. */
  readonly countMax: number;
  /** The sizes of their blobs in all, because the whole of it is reserved. */
  readonly bytesMax: number;
  /** How long each is kept, from the last write to it on. */
  readonly msMax: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** A temp file that may be gone on with, if what is noted in it holds. */
export interface LeftFile {
  readonly path: string;
  readonly head: StagingHead;
  readonly bytes: number;
  readonly ageMs: number;
}

interface LeftUpload extends LeftFile {
  readonly reservedBytes: number;
  readonly expiry: Timer;
  /** Whether the noted bytes have their checksum; looked at when somebody asks for the first time. */
  checking: Promise<boolean> | undefined;
}

/** Whatever the thread that wrote it was called, it is nobody's now. */
const LEFT_PREFIX = "left-";

/**
 * Uploads whose thread or process has ended, in the temp files that it left. They belong to nobody; a client that comes
 * back for one gets it by its name, and the file moves to the listener that takes the rest.
 *
 *     thread or process ends ── takeIn ──► left ── surrender ──► attached by a listener
 *                                │          └──► removed: too old, forgotten, room needed, checksum does not hold
 *                                └──► removed: no head, nothing in it to go on with, past a bound
 */
export class LeftUploads implements Disposable {
  private readonly options: LeftUploadsOptions;
  /** By the hash of the name, in hex. */
  private readonly uploads = new Map<string, LeftUpload>();
  private follower: (count: number) => void = () => undefined;

  constructor(options: LeftUploadsOptions) {
    this.options = options;
  }

  get count(): number {
    return this.uploads.size;
  }

  /** The sizes of their blobs in all. */
  get reservedFileBytes(): number {
    return [...this.uploads.values()].reduce((sum, { head }) => sum + head.sizeBytes, 0);
  }

  /** Tells `follower` how many there are, now and at each change. */
  follow(follower: (count: number) => void): void {
    this.follower = follower;
    follower(this.count);
  }

  /** Takes in what a listener thread that has ended has left. */
  takeInOf(listenerIndex: number): void {
    const { staging, directory, msMax, clock } = this.options;
    const names = stagingNamesOf(staging.fileSystem, directory, listenerIndex);
    this.takeIn(findLeftFiles(staging, directory, names, { msMax, nowMs: clock.wallMs() }));
  }

  /** Takes in what is within the bounds and removes the rest. */
  takeIn(files: readonly LeftFile[]): void {
    const { staging } = this.options;
    for (const file of files.toSorted((a, b) => a.ageMs - b.ageMs)) {
      if (!this.tryTakeIn(file)) removeQuietly(staging.fileSystem, file.path);
    }
    this.changed();
  }

  /** Bytes from which a stream for this name may go on; 0 where it is unknown. */
  async committedBytes(name: string): Promise<number> {
    const upload = this.uploads.get(keyOf(hashUploadName(name)));
    return upload !== undefined && (await this.holds(upload)) ? upload.bytes : 0;
  }

  /** Gives the upload away: whoever gets it attaches it. */
  async surrender(name: string): Promise<DetachedEntry | undefined> {
    const key = keyOf(hashUploadName(name));
    const upload = this.uploads.get(key);
    if (upload === undefined || !(await this.holds(upload)) || this.uploads.get(key) !== upload) return undefined;
    const { path, head, bytes, reservedBytes } = upload;
    const { sizeBytes } = head;
    this.letGo(key, upload);
    const state: DetachedUpload = {
      path,
      name: head.name,
      encoding: "identity",
      sizeBytes,
      coveredBytes: sizeBytes,
      reservedBytes,
      reservedFileBytes: sizeBytes,
    };
    return { bytesStaged: bytes, state };
  }

  async forget(name: string): Promise<void> {
    const key = keyOf(hashUploadName(name));
    const upload = this.uploads.get(key);
    if (upload !== undefined) this.remove(key, upload);
  }

  /** Removes all of them, because staging needs the room. */
  async dropKept(): Promise<void> {
    for (const [key, upload] of this.uploads) this.remove(key, upload);
  }

  /** The files stay, for the next start. */
  [Symbol.dispose](): void {
    for (const { expiry } of this.uploads.values()) expiry.cancel();
    this.uploads.clear();
  }

  private tryTakeIn(file: LeftFile): boolean {
    const { staging, keepFreeBytes, countMax, bytesMax, msMax, timers, directory } = this.options;
    const { ledger, fileBudget, adoptBytesMin, fileSystem } = staging;
    const { name, sizeBytes } = file.head;
    const key = keyOf(name);
    const known = this.uploads.get(key);
    if (known !== undefined && known.bytes >= file.bytes) return false;
    if (known !== undefined) this.remove(key, known);
    if (this.count >= countMax || this.reservedFileBytes + sizeBytes > bytesMax) return false;
    const reservedBytes = stagedFileBytes(sizeBytes, adoptBytesMin);
    if (!ledger.tryReserve(reservedBytes, keepFreeBytes)) return false;
    if (!fileBudget.tryReserve(sizeBytes, 0)) {
      ledger.release(reservedBytes);
      return false;
    }
    // A name that no thread gives to a file of its own, nor takes for one when another ends.
    const path = join(directory, `${LEFT_PREFIX}${randomBytes(8).toString("hex")}.tmp`);
    const expiry = timers.start(Math.max(0, msMax - file.ageMs), () => this.remove(key, upload));
    const upload: LeftUpload = { ...file, path, reservedBytes, expiry, checking: undefined };
    this.uploads.set(key, upload);
    try {
      fileSystem.rename(file.path, path);
    } catch {
      this.remove(key, upload);
      return false;
    }
    return true;
  }

  private holds(upload: LeftUpload): Promise<boolean> {
    upload.checking ??= this.check(upload);
    return upload.checking;
  }

  private async check(upload: LeftUpload): Promise<boolean> {
    const { path, head, bytes } = upload;
    const isSound = await this.prepare(path, head, bytes).catch(() => false);
    const key = keyOf(head.name);
    if (!isSound && this.uploads.get(key) === upload) this.remove(key, upload);
    return isSound;
  }

  /** Makes the file what it would be if it had been written under this kernel, and to here. */
  private async prepare(path: string, head: StagingHead, bytes: number): Promise<boolean> {
    const { fileSystem, boot } = this.options.staging;
    const fd = await fileSystem.openAsync(path, "update");
    try {
      if ((await payloadChecksum(fileSystem, fd, head.notedBytes)) !== head.notedChecksum) return false;
      // What lies behind counts for nothing, and must not after the next end either.
      fileSystem.truncate(fd, STAGING_HEAD_BYTES + bytes);
      const now = { ...head, boot: freshStagingHead(head.name, head.sizeBytes, boot).boot };
      writeFully(fileSystem, fd, [encodeStagingHead(now)], 0);
      return true;
    } finally {
      await fileSystem.closeAsync(fd);
    }
  }

  private remove(key: string, upload: LeftUpload): void {
    const { fileSystem, ledger, fileBudget, fileAdmission, diskUseChanged } = this.options.staging;
    this.letGo(key, upload);
    removeQuietly(fileSystem, upload.path);
    ledger.release(upload.reservedBytes);
    fileBudget.release(upload.head.sizeBytes);
    fileAdmission.roomWasMade();
    diskUseChanged();
  }

  private letGo(key: string, { expiry }: LeftUpload): void {
    expiry.cancel();
    this.uploads.delete(key);
    this.changed();
  }

  private changed(): void {
    this.follower(this.count);
  }
}

/**
 * Looks through temp files that nobody writes any more, and removes those that nobody can go on with.
 * @param names of files in `directory`.
 */
export function findLeftFiles(
  { fileSystem, boot }: Pick<StagingContext, "fileSystem" | "boot">,
  directory: string,
  names: readonly string[],
  { msMax, nowMs }: { readonly msMax: number; readonly nowMs: number },
): LeftFile[] {
  const found: LeftFile[] = [];
  for (const name of names) {
    const path = join(directory, name);
    const file = readLeftFile(path);
    if (file !== undefined && file.bytes > 0 && file.ageMs < msMax) found.push(file);
    // Quietly: somebody's folder in there is no reason not to start.
    else removeQuietly(fileSystem, path);
  }
  return found;

  function readLeftFile(path: string): LeftFile | undefined {
    let fd: number | undefined;
    try {
      fd = fileSystem.open(path, "read");
      const bytes = Buffer.alloc(STAGING_HEAD_BYTES);
      const head = decodeStagingHead(bytes.subarray(0, readFully(fileSystem, fd, bytes, 0)));
      if (head === undefined) return undefined;
      const payloadBytes = fileSystem.sizeOf(fd) - STAGING_HEAD_BYTES;
      // A clock that was set back makes nothing older than it is.
      const ageMs = Math.max(0, nowMs - fileSystem.modifiedAtMs(fd));
      return { path, head, bytes: trustedBytes(head, payloadBytes, boot), ageMs };
    } catch {
      return undefined;
    } finally {
      if (fd !== undefined) fileSystem.close(fd);
    }
  }
}

function keyOf(name: Uint8Array): string {
  return Buffer.from(name).toString("hex");
}
