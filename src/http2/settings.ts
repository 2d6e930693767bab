import { ConnectionError, ERROR_CODE } from "./error-code.ts";
import {
  FRAME_BYTES_MAX_DEFAULT,
  FRAME_BYTES_MAX_LIMIT,
  readWord,
  WINDOW_BYTES_DEFAULT,
  WINDOW_BYTES_LIMIT,
} from "./frame-format.ts";

/** RFC 9113, section 6.5.2; those that a server sends or obeys. */
export const SETTING = {
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

const ENTRY_BYTES = 6;
const ENTRIES_MAX = 64;

/** What the client has asked for, as far as it matters to us. */
export class PeerSettings {
  initialWindowBytes = WINDOW_BYTES_DEFAULT;
  frameBytesMax = FRAME_BYTES_MAX_DEFAULT;

  /** Takes over a SETTINGS payload. @throws {ConnectionError} */
  apply(bytes: Buffer, start: number, end: number): void {
    const entryCount = (end - start) / ENTRY_BYTES;
    if (!Number.isInteger(entryCount)) throw new ConnectionError(ERROR_CODE.frameSizeError, "SETTINGS: cut entry");
    if (entryCount > ENTRIES_MAX) throw new ConnectionError(ERROR_CODE.enhanceYourCalm, "SETTINGS: too many entries");
    for (let at = start; at < end; at += ENTRY_BYTES) {
      this.#set((bytes[at]! << 8) | bytes[at + 1]!, readWord(bytes, at + 2));
    }
  }

  /** Others need nothing: we never push, open no streams, and use no table. */
  #set(name: number, value: number): void {
    if (name === SETTING.enablePush && value > 1) {
      throw new ConnectionError(ERROR_CODE.protocolError, `SETTINGS_ENABLE_PUSH: expected 0 or 1, got ${value}`);
    }
    if (name === SETTING.initialWindowSize) {
      if (value > WINDOW_BYTES_LIMIT) {
        throw new ConnectionError(ERROR_CODE.flowControlError, `SETTINGS_INITIAL_WINDOW_SIZE: ${value} is too large`);
      }
      this.initialWindowBytes = value;
    }
    if (name === SETTING.maxFrameSize) {
      if (value < FRAME_BYTES_MAX_DEFAULT || value > FRAME_BYTES_MAX_LIMIT) {
        throw new ConnectionError(ERROR_CODE.protocolError, `SETTINGS_MAX_FRAME_SIZE: ${value} is out of range`);
      }
      this.frameBytesMax = value;
    }
  }
}

/** A SETTINGS payload of these entries. */
export function encodeSettings(entries: readonly (readonly [name: number, value: number])[]): Buffer {
  const payload = Buffer.alloc(entries.length * ENTRY_BYTES);
  for (const [index, [name, value]] of entries.entries()) {
    payload.writeUInt16BE(name, index * ENTRY_BYTES);
    payload.writeUInt32BE(value, index * ENTRY_BYTES + 2);
  }
  return payload;
}
