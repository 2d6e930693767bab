import { CacheError } from "../../src/cache/cache-error.ts";
import { formatBlobName, formatUploadName, parseBlobName, parseUploadName } from "../../src/grpc/resource-name.ts";
import { type SeededRandom, seededRandom } from "../support/seeded-random.ts";
import { check, type FuzzTarget } from "./fuzz-target.ts";
import { mutateBytes } from "./mutation.ts";

const MESSAGE_CHARACTERS_MAX = 1000;
const NAMES_PER_RUN = 50;
const WORDS = ["blobs", "uploads", "compressed-blobs", "zstd", "deflate", "blake3", "sha256", "SHA256", "actions"];
const FORMS = [
  (name: string) => formatBlobName(parseBlobName(name)),
  (name: string) => formatUploadName(parseUploadName(name)),
];

/** Resource names, sound and mutated: each is either refused, or has this one form. */
export class NameTarget implements FuzzTarget {
  readonly figures = { names: 0, accepted: 0 };

  async run(seed: number): Promise<void> {
    const random = seededRandom(seed);
    for (let i = 0; i < NAMES_PER_RUN; i++) {
      const name = nameOf(random);
      for (const reformat of FORMS) this.#hold(name, reformat);
    }
  }

  #hold(name: string, reformat: (name: string) => string): void {
    this.figures.names++;
    try {
      const formatted = reformat(name);
      this.figures.accepted++;
      check(formatted === name, () => `${JSON.stringify(name)} is taken for ${JSON.stringify(formatted)}`);
    } catch (error) {
      const isRefusal = error instanceof CacheError && error.code === "invalid_argument";
      check(
        isRefusal && error.message.length <= MESSAGE_CHARACTERS_MAX,
        () => `${JSON.stringify(name)}: ${String(error)}`,
      );
    }
  }
}

function nameOf(random: SeededRandom): string {
  const hash = random.bytes(random.pick([16, 20, 32, 32, 32, 48, 64, random.int(0, 70)])).toString("hex");
  const size = random.pick(["0", "42", "9007199254740991", `${random.int(0, 2 ** 31)}`, "-1", "007", "1e3", ""]);
  const middle = random.pick([["blobs"], ["compressed-blobs", "zstd"], ["blobs", "blake3"], [random.pick(WORDS)]]);
  const before = random.pick([[], ["main"], ["a", "b"], [""], [random.pick(WORDS)]]);
  const upload = random.fraction() < 0.5 ? ["uploads", random.pick(["3f1c", "", "blobs"])] : [];
  const after = random.pick([[], [], ["name.txt"], ["", ""], ["x".repeat(random.int(0, 5000))]]);
  const name = [...before, ...upload, ...middle, hash, size, ...after].join("/");
  return random.fraction() < 0.5 ? name : mutateBytes(random, Buffer.from(name)).toString("utf8");
}
