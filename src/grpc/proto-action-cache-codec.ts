/**
 * What a hit in the action cache is read from and answered with, without objects for either. Written by hand for the
 * same reason as proto-byte-stream-codec.ts, and held against protobufjs in the same way.
 */
import type { GetActionResultRequest } from "./messages.ts";
import { readDigestField } from "./proto-digest-codec.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";

const INSTANCE_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;
const ACTION_DIGEST = (2 << 3) | WIRE_TYPES.lengthDelimited;
const INLINE_STDOUT = (3 << 3) | WIRE_TYPES.varint;
const INLINE_STDERR = (4 << 3) | WIRE_TYPES.varint;
const INLINE_OUTPUT_FILES = (5 << 3) | WIRE_TYPES.lengthDelimited;
const DIGEST_FUNCTION = (6 << 3) | WIRE_TYPES.varint;

const OUTPUT_FILES = (2 << 3) | WIRE_TYPES.lengthDelimited;
const STDOUT_RAW = (5 << 3) | WIRE_TYPES.lengthDelimited;
const STDERR_RAW = (7 << 3) | WIRE_TYPES.lengthDelimited;
const FILE_CONTENTS = (5 << 3) | WIRE_TYPES.lengthDelimited;

/**
 * Stricter than protobufjs: a known field with a foreign wire type is an error.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function decodeGetActionResultRequest(bytes: Buffer): GetActionResultRequest {
  const reader = new ProtoWireReader(bytes);
  const request: GetActionResultRequest = {
    instance_name: "",
    action_digest: null,
    inline_stdout: false,
    inline_stderr: false,
    inline_output_files: [],
    digest_function: 0,
  };
  while (!reader.atEnd) readField(reader, reader.tag(), request);
  return request;
}

function readField(reader: ProtoWireReader, tag: number, request: GetActionResultRequest): void {
  switch (tag) {
    case INSTANCE_NAME:
      request.instance_name = reader.string();
      break;
    case ACTION_DIGEST:
      request.action_digest = readDigestField(reader);
      break;
    case INLINE_STDOUT:
      request.inline_stdout = reader.bool();
      break;
    case INLINE_STDERR:
      request.inline_stderr = reader.bool();
      break;
    case INLINE_OUTPUT_FILES:
      request.inline_output_files.push(reader.string());
      break;
    case DIGEST_FUNCTION:
      request.digest_function = reader.int32();
      break;
    default:
      reader.skipUnknown(tag, [1, 2, 3, 4, 5, 6]);
  }
}

/**
 * Whether an encoded ActionResult carries contents of stdout, stderr or files, rather than digests alone.
 * @throws {RangeError | TypeError} where `bytes` is not an encoded message.
 */
export function hasContents(bytes: Buffer): boolean {
  const reader = new ProtoWireReader(bytes);
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === STDOUT_RAW || tag === STDERR_RAW) {
      if (reader.skipBytes() > 0) return true;
    } else if (tag === OUTPUT_FILES) {
      if (hasFileContents(reader)) return true;
    } else reader.skip(tag);
  }
  return false;
}

function hasFileContents(reader: ProtoWireReader): boolean {
  const end = reader.enter();
  while (reader.position < end) {
    const tag = reader.tag();
    if (tag !== FILE_CONTENTS) reader.skip(tag);
    else if (reader.skipBytes() > 0) return true;
  }
  reader.leave(end);
  return false;
}
