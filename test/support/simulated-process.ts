import type { FileSystem, OpenMode } from "../../src/storage/file-system.ts";
import { fileError } from "./faulty-file-system.ts";
import type { DiskFault, SimulatedDisk } from "./simulated-disk.ts";
import { SimulatedFile } from "./simulated-file.ts";

/** The file system as one process, or one thread of it, has it: descriptors of its own, and an end. */
export class SimulatedProcess implements FileSystem {
  readonly #disk: SimulatedDisk;
  readonly #turn: () => Promise<void>;
  readonly #life: number;
  readonly #open = new Map<number, { readonly file: SimulatedFile; readonly path: string }>();
  #nextFd = 3;
  #isKilled = false;

  constructor(disk: SimulatedDisk, turn: () => Promise<void>) {
    this.#disk = disk;
    this.#turn = turn;
    this.#life = disk.life;
  }

  get isAlive(): boolean {
    return !this.#isKilled && this.#life === this.#disk.life;
  }

  /** Files that were opened and not closed. */
  get openFiles(): string[] {
    return [...this.#open.values()].map(({ path }) => path);
  }

  /** Ends this thread; the disk and the other threads go on. */
  kill(): void {
    this.#isKilled = true;
    this.#open.clear();
  }

  makeDirectory(path: string): void {
    this.#perform("makeDirectory", () => this.#disk.names.makeDirectory(path));
  }

  listDirectory(path: string): string[] {
    return this.#perform("listDirectory", () => this.#disk.names.list(path));
  }

  syncDirectory(path: string): void {
    this.#perform("syncDirectory", () => this.#disk.names.sync(path));
  }

  open(path: string, mode: OpenMode): number {
    return this.#perform("open", () => this.#openFile(path, mode));
  }

  close(fd: number): void {
    this.#perform("close", () => this.#closeFile(fd));
  }

  sizeOf(fd: number): number {
    return this.#perform("sizeOf", () => this.#file(fd).sizeBytes);
  }

  /** Files here have no times: all are as old as can be. */
  modifiedAtMs(fd: number): number {
    return this.#perform("modifiedAtMs", () => (this.#file(fd), 0));
  }

  read(fd: number, target: Uint8Array, position: number): number {
    return this.#perform("read", () => this.#readSome(fd, target, position));
  }

  writeVector(fd: number, sources: readonly Uint8Array[], position: number): number {
    const whole = sources.length === 1 && sources[0] !== undefined ? sources[0] : Buffer.concat(sources);
    return this.#write("writeVector", fd, whole, position);
  }

  truncate(fd: number, bytes: number): void {
    this.#perform("truncate", () => {
      this.#file(fd).truncate(bytes);
      this.#disk.noteGrowth();
    });
  }

  syncData(fd: number): void {
    this.#sync("syncData", fd);
  }

  rename(from: string, to: string): void {
    this.#perform("rename", () => {
      const { names, onRemove } = this.#disk;
      const replaced = names.find(to);
      if (replaced !== undefined) onRemove(to, replaced);
      names.rename(from, to);
    });
  }

  remove(path: string): void {
    this.#perform("remove", () => {
      const { names, onRemove } = this.#disk;
      const file = names.find(path);
      if (file !== undefined) onRemove(path, file);
      names.remove(path);
    });
  }

  async openAsync(path: string, mode: OpenMode): Promise<number> {
    await this.#turn();
    return this.#perform("openAsync", () => this.#openFile(path, mode));
  }

  async closeAsync(fd: number): Promise<void> {
    await this.#turn();
    this.#perform("closeAsync", () => this.#closeFile(fd));
  }

  async readAsync(fd: number, target: Uint8Array, position: number): Promise<number> {
    await this.#turn();
    return this.#perform("readAsync", () => this.#readSome(fd, target, position));
  }

  async writeAsync(fd: number, source: Uint8Array, position: number): Promise<number> {
    await this.#turn();
    return this.#write("writeAsync", fd, source, position);
  }

  async syncDataAsync(fd: number): Promise<void> {
    await this.#turn();
    this.#sync("syncDataAsync", fd);
  }

  #openFile(path: string, mode: OpenMode): number {
    const { names } = this.#disk;
    if (mode === "create") names.create(path, new SimulatedFile());
    const file = names.find(path);
    if (file === undefined) throw fileError("ENOENT");
    this.#nextFd += 1;
    this.#open.set(this.#nextFd, { file, path });
    return this.#nextFd;
  }

  #closeFile(fd: number): void {
    if (!this.#open.delete(fd)) throw fileError("EBADF");
  }

  #file(fd: number): SimulatedFile {
    this.#assertAlive();
    const open = this.#open.get(fd);
    if (open === undefined) throw fileError("EBADF");
    return open.file;
  }

  #readSome(fd: number, target: Uint8Array, position: number): number {
    return this.#file(fd).read(target.subarray(0, this.#shortened(target.byteLength)), position);
  }

  #sync(call: "syncData" | "syncDataAsync", fd: number): void {
    const file = this.#file(fd);
    this.#perform(
      call,
      () => file.sync(),
      () => file.dropDirty(),
    );
  }

  #write(call: "writeVector" | "writeAsync", fd: number, source: Uint8Array, position: number): number {
    const writeSome = (bytesMax: number): number => {
      const file = this.#file(fd);
      const growth = Math.max(0, position + bytesMax - file.sizeBytes);
      const bytes = bytesMax - growth + this.#disk.roomFor(growth);
      if (bytes <= 0 && bytesMax > 0) {
        this.#disk.writesWithoutRoom += 1;
        throw fileError("ENOSPC");
      }
      file.write(source.subarray(0, bytes), position);
      this.#disk.noteGrowth();
      return bytes;
    };
    return this.#perform(
      call,
      () => writeSome(this.#shortened(source.byteLength)),
      () => {
        const bytes = this.#disk.random.int(0, source.byteLength);
        if (bytes > 0) writeSome(bytes);
      },
    );
  }

  #shortened(bytes: number): number {
    const { random, shortShare } = this.#disk;
    return bytes > 1 && shortShare > 0 && random.fraction() < shortShare ? random.int(1, bytes) : bytes;
  }

  /** @param spoil What a failing call has done nevertheless. */
  #perform<T>(call: keyof FileSystem, run: () => T, spoil: () => void = () => undefined): T {
    this.#assertAlive();
    const fault = this.#disk.strike(call);
    if (fault === undefined) return run();
    if (fault.effect === "power cut" || fault.effect === "kill") this.#end(fault, run);
    spoil();
    throw fileError(fault.effect);
  }

  #end(fault: DiskFault, run: () => unknown): never {
    try {
      if (this.#disk.random.fraction() < 0.5) run();
    } finally {
      if (fault.effect === "kill") this.#disk.killProcesses();
      else this.#disk.cutPower();
      this.#assertAlive();
    }
    throw new Error("not reached: the process has ended");
  }

  #assertAlive(): void {
    if (!this.isAlive) throw fileError("ESHUTDOWN");
  }
}
