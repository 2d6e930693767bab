import { zstdCompressSync } from "node:zlib";
import { CacheError } from "../../../src/cache/cache-error.ts";
import type { Encoding } from "../../../src/cache/encoding.ts";
import type { EntryKey } from "../../../src/cache/entry-key.ts";
import type { EntryPut, EntryStore, StagedEntry } from "../../../src/cache/entry-store.ts";
import type { BlobUpload, Upload, UploadFlaw } from "./engine-commands.ts";
import type { Excuses } from "./engine-host.ts";
import type { EngineLife } from "./engine-life.ts";
import { type EngineModel, ModelViolation, type ModelWrite } from "./engine-model.ts";
import { actionName, blobName } from "./engine-names.ts";
import type { RunFigures } from "./run-figures.ts";
import { actionKeyOf, actionValue, blobOf } from "./model-contents.ts";

/** What an upload sends, under which name and key. */
interface Content {
  readonly name: string;
  readonly key: EntryKey;
  /** As they are sent: encoded, and with the flaw. */
  readonly bytes: Buffer;
  readonly encoding: Encoding;
  readonly version: number;
  readonly flaw: UploadFlaw;
  readonly pieces: number;
}

interface HeldUpload {
  readonly content: Content;
  readonly staged: StagedEntry;
  readonly sentBytes: number;
}

/** Runs uploads against an engine and tells the model what its callers are told. */
export class EngineUploads {
  readonly #model: EngineModel;
  readonly #excuses: Excuses;
  readonly #figures: RunFigures;
  readonly #held: HeldUpload[] = [];
  #nextVersion = 1;

  constructor(model: EngineModel, excuses: Excuses, figures: RunFigures) {
    this.#model = model;
    this.#excuses = excuses;
    this.#figures = figures;
  }

  get heldCount(): number {
    return this.#held.length;
  }

  /** Uploads that stood open when their process ended. */
  forgetHeld(): void {
    this.#held.length = 0;
  }

  async discardHeld(): Promise<void> {
    for (const { staged } of this.#held.splice(0)) await staged.discard();
  }

  async run(life: EngineLife, upload: Upload): Promise<void> {
    const content = this.#contentOf(upload);
    const write = this.#begin(content);
    await this.#conclude(life, content, write, () => send(life, content));
  }

  /** Sends the first half of a blob and leaves it at that. */
  async hold(life: EngineLife, upload: BlobUpload): Promise<void> {
    const content = this.#contentOf({ ...upload, flaw: "none" });
    const sentBytes = Math.floor(content.bytes.length / 2);
    let staged: StagedEntry | undefined;
    try {
      staged = await life.storeFor(content.key).stage(content.key, { encoding: content.encoding });
      await staged.write(content.bytes.subarray(0, sentBytes));
      this.#held.push({ content, staged, sentBytes });
    } catch (error) {
      if (life.isOver) return;
      await staged?.discard();
      this.#excuses.assertExplained(asError(error));
    }
  }

  async finishHeld(life: EngineLife): Promise<void> {
    const held = this.#held.shift();
    if (held === undefined) return;
    const { content, staged, sentBytes } = held;
    await this.#conclude(life, content, this.#begin(content), async () => {
      try {
        await staged.write(content.bytes.subarray(sentBytes));
      } catch (error) {
        await staged.discard();
        throw error;
      }
      await staged.commit();
    });
  }

  /** Only what may become visible is known to the model. */
  #begin({ name, version, flaw }: Content): ModelWrite | undefined {
    return flaw === "none" ? this.#model.begin(name, version) : undefined;
  }

  async #conclude(
    life: EngineLife,
    { name, flaw, key, encoding }: Content,
    write: ModelWrite | undefined,
    send: () => Promise<"sent" | "discarded" | void>,
  ): Promise<void> {
    let error: Error | undefined;
    let sent: "sent" | "discarded" | void = undefined;
    try {
      sent = await send();
    } catch (thrown) {
      error = asError(thrown);
    }
    // Nobody is there to hear of it.
    if (life.isOver || sent === "discarded") return;
    if (error !== undefined) {
      this.#figures.failedUploads += 1;
      if (write !== undefined) this.#model.fail(write);
      const isRefusal = error instanceof CacheError && error.code === "invalid_argument";
      if (isRefusal && write !== undefined) throw new ModelViolation(`${name}: refused: ${error.message}`);
      if (!isRefusal) this.#excuses.assertExplained(error);
      return;
    }
    // Uploads of what is there already are not read, or not decoded (BEHAVIOUR 2): nothing is kept of them.
    const isSeenInside = flaw === "wrong hash" || encoding === "zstd";
    if (write === undefined && isSeenInside && this.#model.isAllowed(name, 0)) return;
    if (write === undefined) throw new ModelViolation(`${name}: accepted although ${flaw}`);
    this.#figures.acknowledged += 1;
    this.#model.acknowledge(name, write, key.sizeBytes === undefined);
    // I1, I2: whoever is told may read at once.
    if (!life.store.peek(key)) this.#excuses.noteAbsent(name);
  }

  #contentOf(upload: Upload): Content {
    if (upload.kind === "blob") {
      const { key, bytes } = blobOf(upload.blob);
      const flaw = bytes.length === 0 && upload.flaw !== "too long" ? "none" : upload.flaw;
      const { encoding, pieces } = upload;
      const value = flawed(bytes, flaw);
      const sent = encoding === "zstd" ? zstdCompressSync(value) : value;
      return { name: blobName(upload.blob), key, bytes: sent, encoding, version: 0, flaw, pieces };
    }
    const version = this.#nextVersion;
    this.#nextVersion += 1;
    const bytes = actionValue(upload.action, version);
    const { action, pieces } = upload;
    return {
      name: actionName(action),
      key: actionKeyOf(action),
      bytes,
      encoding: "identity",
      version,
      flaw: "none",
      pieces,
    };
  }
}

async function send(
  life: EngineLife,
  { key, bytes: sent, encoding, flaw, pieces }: Content,
): Promise<"sent" | "discarded"> {
  const store = life.storeFor(key);
  if (pieces === 0 && flaw !== "discard") {
    // Every other key one by one, the others with whatever is put in the same turn.
    const isAlone = encoding === "identity" && (key.words[0] ?? 0) % 2 === 0;
    await (isAlone ? store.put(key, sent) : putTogether(store, { key, bytes: sent, encoding }));
    return "sent";
  }
  const staged = await store.stage(key, { encoding });
  try {
    const step = Math.max(1, Math.ceil(sent.length / Math.max(1, pieces)));
    for (let at = 0; at < sent.length; at += step) {
      const scratch = Buffer.from(sent.subarray(at, at + step));
      await staged.write(scratch);
      // The caller may do as he likes with it now.
      scratch.fill(0xee);
    }
  } catch (error) {
    await staged.discard();
    throw error;
  }
  if (flaw === "discard") {
    await staged.discard();
    return "discarded";
  }
  await staged.commit();
  return "sent";
}

interface WaitingPut {
  readonly put: EntryPut;
  readonly settle: PromiseWithResolvers<void>;
}

/** What is put together at the end of this turn. */
const waitingPuts = new WeakMap<EntryStore, WaitingPut[]>();

function putTogether(store: EntryStore, put: EntryPut): Promise<void> {
  const settle = Promise.withResolvers<void>();
  const waiting = waitingPuts.get(store);
  if (waiting !== undefined) {
    waiting.push({ put, settle });
  } else {
    waitingPuts.set(store, [{ put, settle }]);
    queueMicrotask(() => void putAll(store));
  }
  return settle.promise;
}

async function putAll(store: EntryStore): Promise<void> {
  const waiting = waitingPuts.get(store) ?? [];
  waitingPuts.delete(store);
  const failures = await store.putAll(waiting.map(({ put }) => put));
  for (const [i, { settle }] of waiting.entries()) {
    if (failures[i] === undefined) settle.resolve();
    else settle.reject(failures[i]);
  }
}

function flawed(bytes: Buffer, flaw: UploadFlaw): Buffer {
  if (flaw === "too long") return Buffer.concat([bytes, Buffer.from("!")]);
  if (flaw === "too short") return bytes.subarray(0, bytes.length - 1);
  if (flaw !== "wrong hash") return bytes;
  const wrong = Buffer.from(bytes);
  wrong.writeUInt8(wrong.readUInt8(wrong.length >> 1) ^ 1, wrong.length >> 1);
  return wrong;
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}
