import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { CacheError } from "../cache/cache-error.ts";
import type { EntryContent, LentPiece, LentPieces } from "../cache/entry-store.ts";
import type { ResolvedRange } from "./byte-range-header.ts";

/** What lends no pieces is sent in one write up to here, headers and all. */
const ONE_WRITE_BYTES_MAX = 256 * 1024;

/**
 * Sends a content, or the part of it that it was opened for; it is closed in any case. At the pace of the client: two
 * pieces are held at the most.
 * @param headers besides those that tell of the length.
 */
export async function sendContent(
  response: ServerResponse,
  content: EntryContent,
  range: ResolvedRange | undefined,
  headers: OutgoingHttpHeaders,
): Promise<void> {
  const { status, headers: allHeaders } = contentHead(content.sizeBytes, range, headers);
  if (content.encoding !== "identity") {
    allHeaders["content-encoding"] = content.encoding;
    // Of what it decodes to; how long this is nobody has said.
    delete allHeaders["content-length"];
  }
  const pieces = content.lend?.();
  if (pieces === undefined && (range?.limit ?? content.sizeBytes) <= ONE_WRITE_BYTES_MAX) {
    const reading = content.bytes();
    const bytes = reading instanceof Promise ? await reading : reading;
    response.writeHead(status, allHeaders).end(bytes);
    return;
  }
  try {
    const first = pieces?.take();
    response.writeHead(status, allHeaders);
    if (first !== undefined && first.bytes.length === allHeaders["content-length"]) {
      response.end(first.bytes, first.giveBack);
      return;
    }
    if (pieces === undefined) await writeIterated(response, content);
    else await writePieces(response, pieces, first);
  } finally {
    content.close();
  }
  response.end();
}

/** The status of an answer with a content or a part of it, and its headers with those that tell of the length. */
export function contentHead(
  sizeBytes: number,
  range: ResolvedRange | undefined,
  headers: OutgoingHttpHeaders,
): { status: number; headers: OutgoingHttpHeaders } {
  if (range === undefined) return { status: 200, headers: { ...headers, "content-length": sizeBytes } };
  const { offset, limit } = range;
  const contentRange = `bytes ${offset}-${offset + limit - 1}/${sizeBytes}`;
  return { status: 206, headers: { ...headers, "content-length": limit, "content-range": contentRange } };
}

async function writeIterated(response: ServerResponse, content: EntryContent): Promise<void> {
  for await (const bytes of content) if (!write(response, bytes)) await untilDrained(response);
}

/** @param first of them, taken already. */
async function writePieces(response: ServerResponse, pieces: LentPieces, first: LentPiece | undefined): Promise<void> {
  let piece = first;
  do {
    for (piece ??= pieces.take(); piece !== undefined; piece = pieces.take()) {
      if (!write(response, piece.bytes, piece.giveBack)) await untilDrained(response);
    }
  } while (await pieces.more());
}

/** @returns false where the client has to catch up before the next piece. */
function write(response: ServerResponse, bytes: Uint8Array, onWritten?: () => void): boolean {
  if (response.destroyed) throw gone();
  return response.write(bytes, onWritten);
}

function untilDrained(response: ServerResponse): Promise<void> {
  return new Promise((resolve, reject) => {
    const onDrain = (): void => {
      response.off("close", onClose);
      resolve();
    };
    const onClose = (): void => {
      response.off("drain", onDrain);
      reject(gone());
    };
    response.once("drain", onDrain).once("close", onClose);
  });
}

function gone(): CacheError {
  return new CacheError("cancelled", "the client has closed the connection");
}
