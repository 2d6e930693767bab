import { errorCode, type FileSystem } from "../file-system.ts";
import { segmentPath } from "./segment-file.ts";

interface OpenSegment {
  readonly segmentId: number;
  readonly fd: Promise<number>;
  /** The same once it is open. */
  openFd: number | undefined;
  pins: number;
  /** Retired or evicted: closed with the last pin. */
  leaving: boolean;
}

/** A read-only descriptor of a segment, kept open for as long as somebody reads it. */
export interface PinnedSegment {
  readonly fd: number;
  unpin(): void;
}

/**
 * Read descriptors of segments, least recently used closed first. A pinned one stays open when its segment is
 * retired, so a read that has begun completes.
 */
export class SegmentReaders {
  private readonly fileSystem: FileSystem;
  private readonly segmentsDirectory: string;
  private readonly openMax: number;
  private readonly open = new Map<number, OpenSegment>();

  constructor(fileSystem: FileSystem, segmentsDirectory: string, openMax: number) {
    this.fileSystem = fileSystem;
    this.segmentsDirectory = segmentsDirectory;
    this.openMax = openMax;
  }

  /** Of a segment that is open already; undefined where {@link pin} has to open it. */
  pinOpen(segmentId: number): PinnedSegment | undefined {
    const segment = this.open.get(segmentId);
    if (segment?.openFd === undefined) return undefined;
    // The most recently used is last.
    this.open.delete(segmentId);
    this.open.set(segmentId, segment);
    segment.pins += 1;
    return { fd: segment.openFd, unpin: once(() => this.unpin(segment)) };
  }

  /** @throws what the file system reports: ENOENT for a segment that was retired. */
  async pin(segmentId: number): Promise<PinnedSegment> {
    let segment = this.open.get(segmentId);
    if (segment === undefined) {
      const fd = this.openFile(segmentPath(this.segmentsDirectory, segmentId));
      segment = { segmentId, fd, openFd: undefined, pins: 0, leaving: false };
    } else {
      this.open.delete(segmentId);
    }
    this.open.set(segmentId, segment);
    segment.pins += 1;
    try {
      const fd = await segment.fd;
      segment.openFd = fd;
      void this.evict(this.openMax);
      return { fd, unpin: once(() => this.unpin(segment)) };
    } catch (error) {
      if (this.open.get(segmentId) === segment) this.open.delete(segmentId);
      throw error;
    }
  }

  /** Lets go of a retired segment. */
  retire(segmentId: number): void {
    const segment = this.open.get(segmentId);
    if (segment === undefined) return;
    this.open.delete(segmentId);
    this.leave(segment);
  }

  closeAll(): void {
    for (const segmentId of this.open.keys()) this.retire(segmentId);
  }

  /** Where the process is out of descriptors, those that nobody reads from at the moment are given up first (H9). */
  private async openFile(path: string): Promise<number> {
    try {
      return await this.fileSystem.openAsync(path, "read");
    } catch (error) {
      if (errorCode(error) !== "EMFILE") throw error;
      await this.evict(0);
      return await this.fileSystem.openAsync(path, "read");
    }
  }

  /** Closes idle descriptors until `openMax` are left. */
  private async evict(openMax: number): Promise<void> {
    let surplus = this.open.size - openMax;
    const closing: Promise<void>[] = [];
    for (const segment of this.open.values()) {
      if (surplus <= 0) break;
      if (segment.pins > 0) continue;
      this.open.delete(segment.segmentId);
      segment.leaving = true;
      closing.push(this.close(segment));
      surplus -= 1;
    }
    await Promise.all(closing);
  }

  private leave(segment: OpenSegment): void {
    segment.leaving = true;
    if (segment.pins === 0) void this.close(segment);
  }

  private unpin(segment: OpenSegment): void {
    segment.pins -= 1;
    if (segment.leaving && segment.pins === 0) void this.close(segment);
  }

  private async close(segment: OpenSegment): Promise<void> {
    try {
      await this.fileSystem.closeAsync(await segment.fd);
    } catch {
      // Closing a read-only descriptor loses nothing, and one that never opened is not there to close.
    }
  }
}

function once(run: () => void): () => void {
  let done = false;
  return () => {
    if (done) return;
    done = true;
    run();
  };
}
