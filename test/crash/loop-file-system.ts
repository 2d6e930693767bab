import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RequiredProgram } from "../support/debian-packages.ts";
import { assertMountPoint, mount, runProgram } from "./mount.ts";

export const LOOP_PROGRAMS: readonly RequiredProgram[] = [
  { program: "mkfs.ext4", packages: ["e2fsprogs"] },
  { program: "losetup", packages: ["mount", "util-linux"] },
  { program: "perl", packages: ["perl-base"] },
];

const IMAGE_BYTES = 2 * 1024 ** 3;

/**
 * EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH: from then on nothing reaches the disk, not even the journal.
 * The program is there in advance and waits for a line, so that the cut itself takes no time.
 */
const SHUTDOWN_SCRIPT = [
  'use Fcntl; sysopen(my $d, $ARGV[0], O_RDONLY) or die "open: $!"; my $f = pack("L", 2);',
  '$| = 1; print "ready\\n"; <STDIN>; ioctl($d, 0x8004587d, $f) or die "ioctl: $!"',
].join(" ");

/**
 * An ext4 in a file that can lose its power. Mount it only in a mount namespace of your own. The file lies in memory:
 * what is durable is a matter of this ext4 and its journal, and syncs take microseconds, so that a cut meets many.
 */
export class LoopFileSystem implements Disposable {
  readonly mountPoint: string;
  private readonly image: string;
  private readonly backing: Disposable;
  private mounted: Disposable | undefined;

  private constructor(mountPoint: string, image: string, backing: Disposable) {
    this.mountPoint = mountPoint;
    this.image = image;
    this.backing = backing;
  }

  static make(directory: string): LoopFileSystem {
    const [mountPoint, backingPoint] = [join(directory, "mount"), join(directory, "backing")];
    for (const path of [mountPoint, backingPoint]) mkdirSync(path);
    const backing = mount(backingPoint, "-t", "tmpfs", "-o", `size=${IMAGE_BYTES}`, "kura-power");
    const made = new LoopFileSystem(mountPoint, join(backingPoint, "image"), backing);
    writeFileSync(made.image, "");
    truncateSync(made.image, IMAGE_BYTES);
    runProgram("mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", made.image);
    made.mount();
    return made;
  }

  /** Replays the journal as a boot after a power cut does. */
  mount(): void {
    this.mounted = mount(this.mountPoint, "-o", "loop,noatime", this.image);
  }

  /**
   * Gets ready to cut the power.
   * @returns a function that does it: everything that was not synced is dropped, and whoever still uses the file
   * system gets EIO.
   */
  async armPowerCut(): Promise<() => Promise<void>> {
    // What this does to a file system is not to be done to the one that the machine runs on.
    assertMountPoint(this.mountPoint);
    const child = spawn("perl", ["-e", SHUTDOWN_SCRIPT, this.mountPoint], { stdio: ["pipe", "pipe", "inherit"] });
    const ended = once(child, "close");
    await once(child.stdout, "data");
    return async () => {
      child.stdin.end("now\n");
      await ended;
      if (child.exitCode !== 0) throw new Error("the power could not be cut");
    };
  }

  unmount(): void {
    this.mounted?.[Symbol.dispose]();
    this.mounted = undefined;
  }

  [Symbol.dispose](): void {
    this.unmount();
    this.backing[Symbol.dispose]();
  }
}
