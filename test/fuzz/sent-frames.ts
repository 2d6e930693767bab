import { FLAG, FRAME, FRAME_BYTES_MAX_DEFAULT, FRAME_HEADER_BYTES } from "../../src/http2/frame-format.ts";
import { HpackDecoder } from "../../src/http2/hpack/hpack-decoder.ts";
import { SETTING } from "../../src/http2/settings.ts";
import { check } from "./fuzz-target.ts";

export interface SentFigures {
  readonly frames: number;
  /** Of the GOAWAY that tells of an error; 0: none. */
  readonly errorCode: number;
}

/** What a client may rely on, whatever it has sent. @throws where it could not. */
export function checkSentFrames(sent: Buffer, received: Buffer): SentFigures {
  const limits = limitsIn(received);
  const decoder = new HpackDecoder({ tableBytesMax: 0, listBytesMax: 1_000_000 });
  const ended = new Set<number>();
  const begun = new Set<number>();
  let [frames, dataBytes, errorCode, blockOf] = [0, 0, 0, 0];
  let block: Buffer = Buffer.alloc(0);
  for (let at = 0; at < sent.length; frames++) {
    check(sent.length - at >= FRAME_HEADER_BYTES, () => "a frame header is cut short");
    const [length, type, flags] = [sent.readUIntBE(at, 3), sent[at + 3]!, sent[at + 4]!];
    const streamId = sent.readUInt32BE(at + 5);
    const payload = sent.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + length);
    at += FRAME_HEADER_BYTES + length;
    const name = `frame ${frames}, type ${type}, stream ${streamId}`;
    check(payload.length === length, () => `${name}: is cut short`);
    check(length <= limits.frameBytes, () => `${name}: ${length} bytes are more than the client takes`);
    check(frames > 0 || type === FRAME.settings, () => `${name}: the first has to be SETTINGS`);
    check(errorCode === 0, () => `${name}: follows a GOAWAY with an error`);
    check(
      blockOf === 0 || (type === FRAME.continuation && streamId === blockOf),
      () => `${name}: within a header block`,
    );
    if (type === FRAME.data) {
      dataBytes += length;
      check(dataBytes <= limits.connectionBytes, () => `${name}: ${dataBytes} bytes are more than the windows allow`);
      check(begun.has(streamId), () => `${name}: before HEADERS`);
    }
    if (type === FRAME.data || type === FRAME.headers) {
      check(!ended.has(streamId), () => `${name}: after the end of the stream`);
      if ((flags & FLAG.endStream) !== 0) ended.add(streamId);
    }
    if (type === FRAME.rstStream) ended.add(streamId);
    if (type === FRAME.headers || type === FRAME.continuation) {
      begun.add(streamId);
      block = Buffer.concat([block, payload]);
      blockOf = streamId;
      if ((flags & FLAG.endHeaders) !== 0) {
        check(decoder.decode(block, 0, block.length) !== undefined, () => `${name}: too many fields`);
        block = Buffer.alloc(0);
        blockOf = 0;
      }
    }
    if (type === FRAME.goaway) errorCode = payload.readUInt32BE(4);
  }
  return { frames, errorCode };
}

/** The most that what the client has sent can be read to allow. */
function limitsIn(received: Buffer): { frameBytes: number; connectionBytes: number } {
  let frameBytes = FRAME_BYTES_MAX_DEFAULT;
  let connectionBytes = 65_535;
  let at = 24;
  while (received.length - at >= FRAME_HEADER_BYTES) {
    const length = received.readUIntBE(at, 3);
    const payload = received.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + length);
    const type = received[at + 3];
    if (type === FRAME.windowUpdate && payload.length === 4) connectionBytes += payload.readUInt32BE() & 0x7fff_ffff;
    if (type === FRAME.settings) {
      for (let entry = 0; entry + 6 <= payload.length; entry += 6) {
        if (payload.readUInt16BE(entry) === SETTING.maxFrameSize) {
          frameBytes = Math.max(frameBytes, payload.readUInt32BE(entry + 2));
        }
      }
    }
    at += FRAME_HEADER_BYTES + length;
  }
  return { frameBytes, connectionBytes };
}
