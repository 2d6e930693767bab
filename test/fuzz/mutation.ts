import type { SeededRandom } from "../support/seeded-random.ts";

/** Changes a list of frames as nobody would who writes them on purpose: whole frames, their headers, single bytes. */
export function mutateFrames(random: SeededRandom, frames: readonly Buffer[]): Buffer[] {
  const mutated: Buffer[] = frames.map((frame) => Buffer.from(frame));
  for (let count = random.pick([1, 1, 1, 2, 5]); count > 0; count--) {
    const at = random.int(0, mutated.length - 1);
    const other = random.int(0, mutated.length - 1);
    switch (random.int(0, 7)) {
      case 0:
        mutated.splice(at, 1);
        break;
      case 1:
        mutated.splice(at, 0, mutated[other] ?? Buffer.alloc(0));
        break;
      case 2:
        mutated.splice(at, 0, ...Array.from({ length: random.int(1, 200) }, () => mutated[other] ?? Buffer.alloc(0)));
        break;
      case 3:
        [mutated[at], mutated[other]] = [mutated[other]!, mutated[at]!];
        break;
      case 4:
        mutated[at] = mutateHeader(random, mutated[at] ?? Buffer.alloc(0));
        break;
      case 5:
        mutated[at] = random.bytes(random.int(0, 100));
        break;
      default:
        mutated[at] = mutateBytes(random, mutated[at] ?? Buffer.alloc(0));
    }
    if (mutated.length === 0) return [random.bytes(random.int(0, 100))];
  }
  return mutated;
}

/** Flips bits, cuts, repeats, inserts. */
export function mutateBytes(random: SeededRandom, bytes: Buffer): Buffer {
  const at = random.int(0, bytes.length);
  const end = random.int(at, bytes.length);
  switch (random.int(0, 4)) {
    case 0:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)]);
    case 1:
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)]);
    case 2:
      return Buffer.concat([bytes.subarray(0, at), random.bytes(random.int(1, 8)), bytes.subarray(at)]);
    default: {
      const flipped = Buffer.from(bytes);
      if (at < flipped.length) flipped[at]! ^= random.pick([1, 2, 4, 8, 16, 32, 64, 128, 255]);
      return flipped;
    }
  }
}

/** One field of a frame header: the length, the type, the flags, the stream. */
function mutateHeader(random: SeededRandom, frame: Buffer): Buffer {
  if (frame.length < 9) return frame;
  const field = random.int(0, 3);
  if (field === 0) frame.writeUIntBE(random.pick([0, 1, 8, 0x3fff, 0x4001, 0x1_0001, 0xff_ffff]), 0, 3);
  else if (field === 1) frame[3] = random.int(0, 10);
  else if (field === 2) frame[4] = random.int(0, 255);
  else frame.writeUInt32BE(random.pick([0, 1, 2, 3, 5, 0x7fff_ffff, 0xffff_ffff]), 5);
  return frame;
}
