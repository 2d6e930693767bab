import { bytesOf, protoFields, valueOf } from "../response-fields.ts";

/** A blob as a log names it. */
export interface LoggedBlob {
  readonly hash: string;
  readonly sizeBytes: number;
}

export interface LoggedOutputs {
  readonly files: readonly LoggedBlob[];
  readonly trees: readonly LoggedBlob[];
  readonly streams: readonly LoggedBlob[];
}

/** One call of a build. */
export interface LoggedCall {
  /** Hash of the action that it was made for. */
  readonly action: string;
  /** The last part of the method's path. */
  readonly method: string;
  readonly isOk: boolean;
  readonly startMs: number;
  readonly endMs: number;
  /** That were asked for, read or written. */
  readonly blobs: readonly LoggedBlob[];
  /** Of UpdateActionResult. */
  readonly outputs: LoggedOutputs;
}

const NO_OUTPUTS: LoggedOutputs = { files: [], trees: [], streams: [] };

/**
 * Reads what Bazel's `--experimental_remote_grpc_log` has written: LogEntry messages of `remote_logging.proto`, each
 * behind its length.
 */
export function decodeGrpcLog(log: Buffer): LoggedCall[] {
  const calls: LoggedCall[] = [];
  for (let at = 0; at < log.length;) {
    let lengthBytes = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = log.readUInt8(at++);
      lengthBytes += (byte & 127) * scale;
      if (byte < 128) break;
    }
    calls.push(decodeEntry(log.subarray(at, at + lengthBytes)));
    at += lengthBytes;
  }
  return calls;
}

function decodeEntry(entry: Buffer): LoggedCall {
  const path = bytesOf(entry, 3).toString();
  const method = path.slice(path.lastIndexOf("/") + 1);
  return {
    action: bytesOf(bytesOf(entry, 1), 2).toString(),
    method,
    isOk: valueOf(bytesOf(entry, 2), 1) === 0,
    startMs: timestampMs(bytesOf(entry, 5)),
    endMs: timestampMs(bytesOf(entry, 6)),
    ...decodeDetails(method, bytesOf(entry, 4)),
  };
}

function decodeDetails(method: string, details: Buffer): Pick<LoggedCall, "blobs" | "outputs"> {
  if (method === "Read") {
    const name = bytesOf(bytesOf(bytesOf(details, 5), 1), 1).toString();
    return { blobs: [blobOfResourceName(name)], outputs: NO_OUTPUTS };
  }
  if (method === "Write") {
    const name = bytesOf(bytesOf(details, 6), 1).toString();
    return { blobs: [blobOfResourceName(name)], outputs: NO_OUTPUTS };
  }
  if (method === "FindMissingBlobs") {
    return { blobs: allOf(bytesOf(bytesOf(details, 10), 1), 2).map(decodeDigest), outputs: NO_OUTPUTS };
  }
  if (method !== "UpdateActionResult") return { blobs: [], outputs: NO_OUTPUTS };
  const result = bytesOf(bytesOf(bytesOf(details, 13), 1), 3);
  const files = allOf(result, 2).map((file) => decodeDigest(bytesOf(file, 2)));
  const trees = allOf(result, 3).map((directory) => decodeDigest(bytesOf(directory, 3)));
  const streams = [...allOf(result, 6), ...allOf(result, 8)].map(decodeDigest);
  return { blobs: [], outputs: { files, trees, streams } };
}

function allOf(message: Buffer, number: number): Buffer[] {
  return [...protoFields(message)].filter((field) => field.number === number).map((field) => field.bytes);
}

function decodeDigest(message: Buffer): LoggedBlob {
  return { hash: bytesOf(message, 1).toString(), sizeBytes: valueOf(message, 2) };
}

/** `…/blobs/HASH/SIZE` */
function blobOfResourceName(name: string): LoggedBlob {
  const [sizeBytes = "", hash = ""] = name.split("/").reverse();
  return { hash, sizeBytes: Number(sizeBytes) };
}

function timestampMs(message: Buffer): number {
  return valueOf(message, 1) * 1000 + valueOf(message, 2) / 1e6;
}
