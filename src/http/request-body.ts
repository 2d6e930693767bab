import type { IncomingMessage } from "node:http";
import { CacheError } from "../cache/cache-error.ts";
import type { Encoding } from "../cache/encoding.ts";
import type { StagedEntry, StageOptions } from "../cache/entry-store.ts";
import type { MemoryBudget } from "../cache/memory-budget.ts";
import { freeMemory } from "../free-memory.ts";
import { type Timers, systemTimers } from "../timers.ts";
import { UploadDeadline } from "../upload-deadline.ts";
import type { HttpExchange } from "./http-router.ts";

export interface RequestBodiesOptions {
  /** Largest body taken; a longer one is too_large. */
  readonly bytesMax: number;
  /** As of {@link UploadDeadline}. */
  readonly idleMsMax: number;
  /** What bodies that are read at once take their room from. Default: no bound. */
  readonly memory?: MemoryBudget;
  readonly timers?: Timers;
}

/** Takes one chunk; the next one waits for its promise. What it throws ends the body. */
type TakeChunk = (chunk: Buffer) => Promise<void> | void;

/** Reads the bodies of requests: as they come, at the pace of whoever takes them, within bounds. */
export class RequestBodies {
  readonly bytesMax: number;
  readonly #idleMsMax: number;
  readonly #memory: MemoryBudget | undefined;
  readonly #timers: Timers;

  constructor({ bytesMax, idleMsMax, memory, timers = systemTimers }: RequestBodiesOptions) {
    this.bytesMax = bytesMax;
    this.#idleMsMax = idleMsMax;
    this.#memory = memory;
    this.#timers = timers;
  }

  /**
   * Resolves once the body is stored: visible, and as durable as configured (I2). Otherwise nothing of it stays.
   * @param stage starts the upload; the size is undefined for a chunked body.
   * @returns how many bytes it had.
   * @throws {CacheError} too_large; deadline_exceeded where the client stops; cancelled where it goes; what staging throws.
   */
  async store(
    exchange: HttpExchange,
    stage: (options: StageOptions) => Promise<StagedEntry> | StagedEntry,
  ): Promise<number> {
    const { request } = exchange;
    const sizeBytes = declaredBytes(request);
    if (sizeBytes !== undefined) checkSize(sizeBytes, this.bytesMax);
    const ending = new AbortController();
    const onClose = (): void => ending.abort();
    request.once("close", onClose);
    const staging = stage({ signal: ending.signal, ...(sizeBytes === undefined ? {} : { sizeBytes }) });
    const staged = staging instanceof Promise ? await staging : staging;
    // A body that is whole is closed too, and to abort costs more than to read one of 4 KiB.
    request.off("close", onClose);
    try {
      await this.read(exchange, (chunk) => {
        const writing = staged.write(chunk);
        if (writing !== undefined) return writing.then(() => freeMemory(chunk));
        freeMemory(chunk);
      });
      const { bytesStaged } = staged;
      await staged.commit();
      return bytesStaged;
    } catch (error) {
      await staged.discard();
      throw error;
    }
  }

  /** Reads a small body at once. @throws {CacheError} as `store` does. */
  async bytes(exchange: HttpExchange, bytesMax: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let heldBytes = 0;
    let isOver = false;
    const keep = (chunk: Buffer): void => {
      // The client may have gone while its chunk waited for room.
      if (isOver) return this.#memory?.give(chunk.length);
      chunks.push(chunk);
      heldBytes += chunk.length;
    };
    try {
      await this.read(
        exchange,
        (chunk) => {
          const waiting = this.#memory?.takeInTime(chunk.length, heldBytes);
          return waiting === undefined ? keep(chunk) : waiting.then(() => keep(chunk));
        },
        bytesMax,
      );
      return Buffer.concat(chunks);
    } finally {
      isOver = true;
      this.#memory?.give(heldBytes);
    }
  }

  /** Resolves at the end of the body. @throws {CacheError} as `store` does; what `take` throws. */
  read(exchange: HttpExchange, take: TakeChunk, bytesMax = this.bytesMax): Promise<void> {
    const { request, response } = exchange;
    checkSize(declaredBytes(request) ?? 0, bytesMax);
    if (exchange.awaitsContinue) {
      response.writeContinue();
      exchange.awaitsContinue = false;
    }
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let takenBytes = 0;
    let isTaking = false;
    let hasEnded = false;
    const deadline = new UploadDeadline({
      idleMsMax: this.#idleMsMax,
      timers: this.#timers,
      isServerBusy: () => isTaking,
      onLate: (message) => fail(new CacheError("deadline_exceeded", message)),
    });
    const leave = (): void => {
      deadline[Symbol.dispose]();
      request.off("data", onData).off("end", onEnd).off("close", onClose);
    };
    const fail = (error: unknown): void => {
      leave();
      reject(error);
    };
    const onData = (chunk: Buffer): void => {
      deadline.noteProgress(chunk.length);
      takenBytes += chunk.length;
      let taking: Promise<void> | void;
      try {
        checkSize(takenBytes, bytesMax);
        taking = take(chunk);
      } catch (error) {
        return fail(error);
      }
      if (taking === undefined) return;
      isTaking = true;
      request.pause();
      taking.then(() => {
        isTaking = false;
        if (hasEnded) finish();
        else request.resume();
      }, fail);
    };
    const finish = (): void => {
      leave();
      resolve();
    };
    // It may come while the last chunk is still being taken: a stream that is paused with nothing left ends all the same.
    const onEnd = (): void => {
      hasEnded = true;
      request.off("close", onClose);
      if (!isTaking) finish();
    };
    const onClose = (): void => fail(new CacheError("cancelled", "the connection ended before the body"));
    if (request.destroyed) onClose();
    else request.on("data", onData).once("end", onEnd).once("close", onClose);
    return promise;
  }
}

/**
 * How the body is encoded, for those who take more than identity.
 * @throws {CacheError} invalid_argument where it is anything that is not offered.
 */
export function bodyEncoding({ headers }: IncomingMessage, offered: readonly Encoding[]): Encoding {
  const given = (headers["content-encoding"] ?? "identity").toLowerCase();
  const encoding = offered.find((candidate) => candidate === given);
  if (encoding !== undefined) return encoding;
  throw new CacheError("invalid_argument", `content-encoding: expected ${offered.join(" or ")}, got ${given}`);
}

/** @returns undefined for a chunked body. One that has neither a length nor chunks is empty (RFC 9112, section 6.3). */
export function declaredBytes({ headers }: IncomingMessage): number | undefined {
  return headers["transfer-encoding"] === undefined ? Number(headers["content-length"] ?? 0) : undefined;
}

function checkSize(sizeBytes: number, bytesMax: number): void {
  if (sizeBytes <= bytesMax) return;
  throw new CacheError("too_large", `body: expected at most ${bytesMax} bytes, got at least ${sizeBytes}`);
}
