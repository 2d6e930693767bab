import { asBuffer } from "./proto-definitions.ts";
import { ProtoWireReader, WIRE_TYPES } from "./proto-wire-reader.ts";
import type { CallContext } from "./transport/handler.ts";

/** What a client says of itself. It is for counting: nothing is decided by it that a client could gain by. */
export interface ClaimedClient {
  /** Empty where it is not said. */
  readonly toolName: string;
  /** What kind of action the call is for; empty where it is not said. */
  readonly actionMnemonic: string;
}

const HEADER = "build.bazel.remote.execution.v2.requestmetadata-bin";
const UNKNOWN: ClaimedClient = { toolName: "", actionMnemonic: "" };

const TOOL_DETAILS = (1 << 3) | WIRE_TYPES.lengthDelimited;
const ACTION_MNEMONIC = (5 << 3) | WIRE_TYPES.lengthDelimited;
const TOOL_NAME = (1 << 3) | WIRE_TYPES.lengthDelimited;

/** From the `RequestMetadata` that came with the call. What does not decode says nothing. */
export function claimedClientOf(call: CallContext): ClaimedClient {
  const header = call.binaryHeader(HEADER);
  if (header === undefined) return UNKNOWN;
  try {
    return readClient(new ProtoWireReader(asBuffer(header)));
  } catch {
    return UNKNOWN;
  }
}

/** By hand: it comes with every call, and of its strings only two are wanted. */
function readClient(reader: ProtoWireReader): ClaimedClient {
  let toolName = "";
  let actionMnemonic = "";
  while (!reader.atEnd) {
    const tag = reader.tag();
    if (tag === ACTION_MNEMONIC) actionMnemonic = reader.asciiString();
    else if (tag === TOOL_DETAILS) toolName = readToolName(reader, toolName);
    else reader.skip(tag);
  }
  return { toolName, actionMnemonic };
}

function readToolName(reader: ProtoWireReader, known: string): string {
  let name = known;
  const end = reader.enter();
  while (reader.position < end) {
    const tag = reader.tag();
    if (tag === TOOL_NAME) name = reader.asciiString();
    else reader.skip(tag);
  }
  reader.leave(end);
  return name;
}
