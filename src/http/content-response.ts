import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import { CacheError } from "../cache/cache-error.ts";
import type { EntryContent } from "../cache/entry-store.ts";
import type { ResolvedRange } from "./byte-range-header.ts";

/** What is in memory is sent in one write up to here, headers and all. */
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
  if (content.lend === undefined && (range?.limit ?? content.sizeBytes) <= ONE_WRITE_BYTES_MAX) {
    const reading = content.bytes();
    const bytes = reading instanceof Promise ? await reading : reading;
    response.writeHead(status, allHeaders).end(bytes);
    return;
  }
  try {
    response.writeHead(status, allHeaders);
    await writePieces(response, content);
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

async function writePieces(response: ServerResponse, content: EntryContent): Promise<void> {
  if (content.lend === undefined) {
    for await (const bytes of content) if (!write(response, bytes)) await untilDrained(response);
  } else {
    const pieces = content.lend();
    do {
      for (let piece = pieces.take(); piece !== undefined; piece = pieces.take()) {
        if (!write(response, piece.bytes, piece.giveBack)) await untilDrained(response);
      }
    } while (await pieces.more());
  }
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
