import type { StagedBlob } from "../cache/blob-store.ts";
import { CacheError } from "../cache/cache-error.ts";
import type { Digest } from "../cache/digest.ts";
import { encodedBytesMax, type Encoding } from "../cache/encoding.ts";
import type { WriteRequest } from "./byte-stream-messages.ts";
import type { RequestReader } from "./request-reader.ts";
import type { UploadClaim } from "./resumable-uploads.ts";

const NO_BYTES = Buffer.alloc(0);

/**
 * The bytes of one `ByteStream.Write` on their way into staging. Where a message contradicts the stream, the call
 * fails and what was staged stays for a later stream; where the bytes themselves are wrong, nothing is kept.
 */
export class BlobUpload {
  readonly #resourceName: string;
  /** Of the bytes as they are sent. */
  readonly #bytesMax: number;
  /** Whether there have to be so many. */
  readonly #isExact: boolean;
  readonly #claim: UploadClaim;
  #staged: StagedBlob | undefined;
  /** Where the next byte of this stream belongs. Behind `bytesStaged` while a resumed stream repeats what is there. */
  #offset = 0;

  constructor(resourceName: string, { sizeBytes }: Digest, encoding: Encoding, claim: UploadClaim) {
    this.#resourceName = resourceName;
    this.#isExact = encoding === "identity";
    this.#bytesMax = this.#isExact ? sizeBytes : encodedBytesMax(sizeBytes);
    this.#claim = claim;
  }

  /** Bytes of the upload so far, as they were sent, what an earlier stream has left included. */
  get bytesTaken(): number {
    return this.#offset;
  }

  /**
   * From 0 the stream starts afresh, so that a retry works whatever an earlier stream has sent; from any other offset
   * it goes on with the bytes of the earlier stream.
   * @throws {CacheError} invalid_argument for an offset past what is committed; what `stage` throws.
   */
  begin(writeOffset: number, stage: () => Promise<StagedBlob> | StagedBlob): Promise<void> | void {
    const committedBytes = this.#claim.bytesCommitted;
    if (writeOffset < 0 || writeOffset > committedBytes) {
      throw new CacheError("invalid_argument", `write_offset: expected 0 to ${committedBytes}, got ${writeOffset}`);
    }
    this.#offset = writeOffset;
    if (writeOffset > 0) {
      this.#staged = this.#claim.resume();
      return;
    }
    const staging = stage();
    if (staging instanceof Promise) return staging.then((staged) => this.#begin(staged));
    this.#begin(staging);
  }

  /**
   * Takes a message whose bytes go to memory, in place. @returns false where there is something left of it, which is
   * then {@link take}'s: whatever is wrong with it, and its end.
   */
  tryTake(message: WriteRequest): boolean {
    const { data, write_offset, finish_write, resource_name } = message;
    const staged = this.#staged;
    const end = this.#offset + data.length;
    const isNext = staged !== undefined && write_offset === this.#offset && staged.bytesStaged === write_offset;
    const isExpected = isNext && (resource_name === "" || resource_name === this.#resourceName);
    if (!isExpected || end > this.#bytesMax || this.#claim.hasEarlier || !staged.tryWrite(data)) return false;
    this.#offset = end;
    message.write_offset = end;
    message.data = NO_BYTES;
    return !finish_write;
  }

  /**
   * @returns a promise only where staging has to be waited for: most messages go to memory.
   * @throws {CacheError} invalid_argument; what staging throws.
   */
  take(message: WriteRequest): Promise<void> | void {
    this.#check(message);
    const staged = this.#requireStaged();
    const end = this.#offset + message.data.length;
    if (end > this.#bytesMax) {
      this.#claim.drop();
      const bound = this.#isExact ? "" : "at most ";
      throw new CacheError(
        "invalid_argument",
        `data: expected ${bound}${this.#bytesMax} bytes in all, got at least ${end}`,
      );
    }
    const repeatedBytes = staged.bytesStaged - this.#offset;
    this.#offset = end;
    if (repeatedBytes >= message.data.length) return;
    return this.#write(staged, repeatedBytes === 0 ? message.data : message.data.subarray(repeatedBytes));
  }

  /**
   * Hands the bytes over (I5). Resolves once the blob is visible and as durable as configured (I2).
   * @throws {CacheError} invalid_argument for missing bytes, another hash, or a message that follows.
   */
  async finish(requests: RequestReader<WriteRequest>): Promise<void> {
    // From here on the bytes are either published or wrong: there is nothing to resume.
    this.#claim.drop();
    if (this.#isExact && this.#offset !== this.#bytesMax) {
      throw new CacheError(
        "invalid_argument",
        `finish_write: expected it after ${this.#bytesMax} bytes, got ${this.#offset}`,
      );
    }
    let hasTrailingMessage = false;
    requests.next().then(
      (message) => {
        hasTrailingMessage = message !== undefined;
      },
      // The upload is complete: how the stream ends no longer matters.
      () => undefined,
    );
    await this.#requireStaged().commit();
    if (hasTrailingMessage) {
      throw new CacheError("invalid_argument", "finish_write: expected no message after it, got one");
    }
  }

  #begin(staged: StagedBlob): void {
    this.#staged = this.#claim.begin(staged);
  }

  #check({ resource_name, write_offset }: WriteRequest): void {
    if (resource_name !== "" && resource_name !== this.#resourceName) {
      throw new CacheError("invalid_argument", "resource_name: expected the name of the first message, got another");
    }
    if (write_offset !== this.#offset) {
      throw new CacheError("invalid_argument", `write_offset: expected ${this.#offset}, got ${write_offset}`);
    }
  }

  #write(staged: StagedBlob, bytes: Uint8Array): Promise<void> | void {
    let written: Promise<void> | void;
    try {
      written = staged.write(bytes);
    } catch (error) {
      this.#claim.drop();
      throw error;
    }
    if (written !== undefined) return this.#written(written);
    if (this.#claim.hasOutgrown) return this.#claim.dropEarlier();
  }

  async #written(written: Promise<void>): Promise<void> {
    try {
      await written;
    } catch (error) {
      // What was taken of the chunk is not known.
      this.#claim.drop();
      throw error;
    }
    if (this.#claim.hasOutgrown) await this.#claim.dropEarlier();
  }

  #requireStaged(): StagedBlob {
    if (this.#staged === undefined) throw new CacheError("internal", "bytes before the upload has begun");
    return this.#staged;
  }
}
