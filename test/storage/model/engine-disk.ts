import type { FileSystem } from "../../../src/storage/file-system.ts";
import { segmentIdOfFileName, segmentPath } from "../../../src/storage/segment/segment-file.ts";
import {
  FOOTER_ROW_BYTES,
  FOOTER_TAIL_BYTES,
  type PlacedRecord,
  recordBytes,
} from "../../../src/storage/segment/segment-format.ts";
import {
  inspectSegment,
  type RecoveredSegment,
  recoverSegment,
} from "../../../src/storage/segment/segment-recovery.ts";
import { StorePaths } from "../../../src/storage/store-paths.ts";
import type { SimulatedDisk } from "../../support/simulated-disk.ts";
import { SimulatedFile } from "../../support/simulated-file.ts";
import type { EngineSetup, Restart } from "./engine-commands.ts";
import { DIRECTORY } from "./engine-life.ts";

const PATHS = new StorePaths(DIRECTORY);

/** A segment as somebody sees it who looks at the disk from outside. */
export interface DiskSegment {
  readonly path: string;
  readonly recovered: RecoveredSegment;
  readonly sizeBytes: number;
  /** Its last bytes are those of a footer, whatever has become of the table before them. */
  readonly hasFooterTail: boolean;
}

/** The engine's files, read and changed behind its back. */
export class EngineDisk {
  readonly #disk: SimulatedDisk;
  /** Checkpoints as they were before earlier restarts. */
  readonly #oldCheckpoints = new Map<string, Buffer>();
  readonly #damaged = new Set<string>();

  constructor(disk: SimulatedDisk) {
    this.#disk = disk;
  }

  get hasDamage(): boolean {
    return this.#damaged.size > 0;
  }

  get stagingFiles(): string[] {
    return [...this.#disk.names.files()].map(([path]) => path).filter((path) => path.startsWith(PATHS.staging));
  }

  segments(): DiskSegment[] {
    return this.#disk.inspect((fileSystem) =>
      fileSystem.listDirectory(PATHS.segments).flatMap((name) => {
        const segmentId = segmentIdOfFileName(name);
        return segmentId === undefined ? [] : [read(fileSystem, segmentPath(PATHS.segments, segmentId))];
      }),
    );
  }

  /** @returns the records of a segment, none for another file. */
  recordsIn(path: string): readonly PlacedRecord[] {
    if (!path.startsWith(PATHS.segments)) return [];
    return this.#disk.inspect((fileSystem) => read(fileSystem, path).recovered.records);
  }

  /**
   * What the ledger should hold for the files that are there: unsealed segments have their footers to come. Where a
   * power cut undid a part of what was appended over a footer, its table may be spoilt and its tail stand: a start
   * takes such a segment for sealed and counts what it is, though its records are then found by a scan.
   */
  accountedBytes(): number {
    let bytes = 0;
    for (const [path, file] of this.#disk.names.files()) if (!path.startsWith(PATHS.segments)) bytes += file.sizeBytes;
    for (const { recovered, sizeBytes, hasFooterTail } of this.segments()) {
      const { endOffset, records } = recovered;
      bytes += hasFooterTail ? sizeBytes : endOffset + records.length * FOOTER_ROW_BYTES + FOOTER_TAIL_BYTES;
    }
    return bytes;
  }

  /**
   * Flips a bit of one of the segments.
   * @param share Where, of all their bytes.
   * @returns the records that it may have cost.
   */
  damage(share: number, mask: number): readonly PlacedRecord[] {
    const segments = this.segments().filter(({ sizeBytes }) => sizeBytes > 0);
    let at = Math.floor(segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) * share);
    for (const { path, recovered, sizeBytes } of segments) {
      if (at >= sizeBytes) {
        at -= sizeBytes;
        continue;
      }
      this.#disk.names.find(path)?.damage(at, mask);
      // Twice in one segment: its header and its only nonce-bearing record may be gone.
      if (this.#damaged.has(path)) return recovered.records;
      this.#damaged.add(path);
      return recovered.records.filter(
        ({ offset, storedBytes }) => offset <= at && at < offset + recordBytes(storedBytes),
      );
    }
    return [];
  }

  /** What happens to the checkpoints while nobody runs. */
  disturbCheckpoints(how: Restart["checkpoint"], setup: EngineSetup): void {
    const paths = [...this.#disk.names.files()].map(([path]) => path).filter((path) => path.endsWith(".ckpt"));
    const before = new Map(paths.map((path) => [path, this.#contents(path)]));
    for (const [i, path] of paths.entries()) {
      const file = this.#disk.names.find(path);
      if (file === undefined) continue;
      if (how === "delete") this.#disk.names.remove(path);
      if (how === "damage" && file.sizeBytes > 0) file.damage((i * 977 + setup.maxBytes) % file.sizeBytes, 0x10);
      const other = paths[(i + 1) % paths.length] ?? path;
      if (how === "swap") replace(file, before.get(other) ?? Buffer.alloc(0));
      // With a damaged tail besides, an old checkpoint may cover what was appended in place of it.
      if (how === "put back an old one" && !this.hasDamage)
        replace(file, this.#oldCheckpoints.get(path) ?? Buffer.alloc(0));
    }
    for (const [path, bytes] of before) if (!this.#oldCheckpoints.has(path)) this.#oldCheckpoints.set(path, bytes);
  }

  #contents(path: string): Buffer {
    const file = this.#disk.names.find(path) ?? new SimulatedFile();
    const bytes = Buffer.alloc(file.sizeBytes);
    file.read(bytes, 0);
    return bytes;
  }
}

function read(fileSystem: FileSystem, path: string): DiskSegment {
  const fd = fileSystem.open(path, "read");
  const recovered = recoverSegment(fileSystem, fd);
  const hasFooterTail = inspectSegment(fileSystem, fd) !== undefined;
  return { path, recovered, sizeBytes: fileSystem.sizeOf(fd), hasFooterTail };
}

function replace(file: SimulatedFile, bytes: Buffer): void {
  file.truncate(0);
  file.write(bytes, 0);
  file.sync();
}
