import { createHash, type Hash, randomBytes } from "node:crypto";

/** At the end of each blob. */
export const STAMP_BYTES = 16;

/** A kind of blob in the mix of a run. */
export interface SizeClass {
  readonly sizeBytes: number;
  /** How many of these there are for one blob of a class with weight 1. */
  readonly weight: number;
}

/** As the outputs of a build: many small ones, most of the bytes in few large ones. */
export const BUILD_MIX: readonly SizeClass[] = [
  { sizeBytes: 100, weight: 64 },
  { sizeBytes: 1024, weight: 64 },
  { sizeBytes: 4097, weight: 64 },
  { sizeBytes: 16_000, weight: 48 },
  { sizeBytes: 65_536, weight: 32 },
  { sizeBytes: 200_000, weight: 24 },
  { sizeBytes: 400_000, weight: 16 },
  { sizeBytes: 1_048_600, weight: 8 },
  { sizeBytes: 3_145_728, weight: 4 },
  { sizeBytes: 8_388_608, weight: 2 },
  { sizeBytes: 14_680_100, weight: 1 },
];

/** A blob by number: `content(class)` with its stamp in the last bytes. */
export interface PlannedBlob {
  readonly classIndex: number;
  readonly sizeBytes: number;
  readonly stamp: Buffer;
  /** SHA-256, lower-case hex. */
  readonly hash: string;
}

/**
 * Blobs that are cheap for the client and new to the server: those of one size share random, incompressible content
 * but for a stamp at their end. So a hash costs one block, and the client's CPU is left to the server.
 */
export class BlobPlan {
  readonly blobs: readonly PlannedBlob[];
  /** Of all blobs together. */
  readonly bytes: number;
  readonly #contents: Buffer[];
  readonly #stampsSeed: Buffer;

  constructor(classes: readonly SizeClass[], totalBytes: number) {
    this.#stampsSeed = randomBytes(8);
    this.#contents = classes.map(({ sizeBytes }) => randomBytes(sizeBytes));
    const prefixHashes = this.#contents.map((content) =>
      createHash("sha256").update(content.subarray(0, content.length - STAMP_BYTES)),
    );
    const order = interleave(classes);
    const blobs: PlannedBlob[] = [];
    let planned = 0;
    while (planned < totalBytes) {
      const classIndex = order[blobs.length % order.length] ?? 0;
      const blob = this.#plan(classIndex, prefixHashes[classIndex], blobs.length);
      blobs.push(blob);
      planned += blob.sizeBytes;
    }
    this.blobs = blobs;
    this.bytes = planned;
  }

  /** Of the class, without a stamp of its own. */
  content(classIndex: number): Buffer {
    return this.#contents[classIndex] ?? Buffer.alloc(0);
  }

  /** Of each class. */
  get contents(): readonly Buffer[] {
    return this.#contents;
  }

  /** @throws where there is none with this number. */
  blob(number: number): PlannedBlob {
    const blob = this.blobs[number];
    if (blob === undefined) throw new RangeError(`blob ${number} of ${this.blobs.length}`);
    return blob;
  }

  /** A copy, with the stamp. */
  wholeContent(blob: PlannedBlob): Buffer {
    const content = Buffer.from(this.content(blob.classIndex));
    blob.stamp.copy(content, content.length - STAMP_BYTES);
    return content;
  }

  #plan(classIndex: number, prefixHash: Hash | undefined, number: number): PlannedBlob {
    const sizeBytes = this.content(classIndex).length;
    if (prefixHash === undefined || sizeBytes < STAMP_BYTES) {
      throw new RangeError(`a blob has at least the ${STAMP_BYTES} bytes that make it unique, not ${sizeBytes}`);
    }
    const stamp = Buffer.allocUnsafe(STAMP_BYTES);
    this.#stampsSeed.copy(stamp);
    stamp.writeDoubleLE(number, 8);
    return { classIndex, sizeBytes, stamp, hash: prefixHash.copy().update(stamp).digest("hex") };
  }
}

/** Class indices, each as often as its weight says, and evenly spread. */
function interleave(classes: readonly SizeClass[]): number[] {
  const places = classes.flatMap(({ weight }, classIndex) =>
    Array.from({ length: weight }, (_, i) => ({ classIndex, at: (i + 0.5) / weight })),
  );
  return places.sort((a, b) => a.at - b.at).map((place) => place.classIndex);
}
