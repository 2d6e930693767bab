import { ConnectionError } from "../../src/http2/error-code.ts";
import { HpackDecoder } from "../../src/http2/hpack/hpack-decoder.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { check, type FuzzTarget } from "./fuzz-target.ts";
import { HeaderBlockWriter } from "./header-block-writer.ts";
import { mutateBytes } from "./mutation.ts";
import { ReferenceHpack } from "./reference-hpack.ts";

const BLOCKS_MAX = 30;

type Decoded = readonly string[] | undefined | "malformed";

/** Series of header blocks, sound ones, mutated ones and bare bytes, against a plain decoder. */
export class HpackTarget implements FuzzTarget {
  readonly figures = { series: 0, blocks: 0, malformed: 0, tooLarge: 0 };

  async run(seed: number): Promise<void> {
    const random = seededRandom(seed);
    const tableBytesMax = random.pick([0, 100, 400, 4096]);
    const listBytesMax = random.pick([100, 1000, 32_768]);
    const decoder = new HpackDecoder({ tableBytesMax, listBytesMax });
    const reference = new ReferenceHpack(tableBytesMax, listBytesMax);
    this.figures.series++;
    for (const block of blocks(random, tableBytesMax)) {
      const got = decodeInPlace(random, decoder, block);
      const expected = expectedOf(reference, block);
      check(
        JSON.stringify(got) === JSON.stringify(expected),
        () => `${block.toString("hex")}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(got)}`,
      );
      this.figures.blocks++;
      if (got === undefined) this.figures.tooLarge++;
      if (got !== "malformed") continue;
      // The connection ends with it.
      this.figures.malformed++;
      return;
    }
  }
}

function* blocks(random: SeededRandom, tableBytesMax: number): Generator<Buffer> {
  const writer = new HeaderBlockWriter(random, tableBytesMax);
  const sent: Buffer[] = [];
  const newField = (): readonly [string, string] => [
    random.pick(["a", "x-name", "content-type", "grpc-timeout", "n".repeat(random.int(1, 60))]),
    random.bytes(random.fraction() < 0.05 ? random.int(0, 600) : random.int(0, 20)).toString("latin1"),
  ];
  for (let count = random.int(1, BLOCKS_MAX); count > 0; count--) {
    const kind = random.fraction();
    if (kind < 0.15 && sent.length > 0) {
      // The very same bytes: what was decoded once may be kept, unless the table has changed.
      yield random.pick(sent);
      continue;
    }
    const fields = Array.from({ length: random.int(0, 12) }, () =>
      random.fraction() < 0.6 ? writer.knownField() : newField(),
    );
    const block = writer.block(fields);
    sent.push(block);
    if (kind < 0.85) yield block;
    else yield kind < 0.97 ? mutateBytes(random, block) : random.bytes(random.int(0, 60));
  }
}

/** The block lies somewhere in a larger buffer, which is overwritten afterwards. */
function decodeInPlace(random: SeededRandom, decoder: HpackDecoder, block: Buffer): Decoded {
  const start = random.int(0, 20);
  const around = random.bytes(start + block.length + random.int(0, 20));
  block.copy(around, start);
  try {
    return decoder.decode(around, start, start + block.length)?.flat;
  } catch (error) {
    if (!(error instanceof ConnectionError)) throw error;
    return "malformed";
  } finally {
    around.fill(0xee);
  }
}

function expectedOf(reference: ReferenceHpack, block: Buffer): Decoded {
  try {
    return reference.decode(block);
  } catch {
    return "malformed";
  }
}
