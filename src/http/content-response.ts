import type { OutgoingHttpHeaders, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { CacheError } from "../cache/cache-error.ts";
import type { EntryContent, LentPiece, LentPieces } from "../cache/entry-store.ts";
import type { LoopTurns } from "../http2/loop-turns.ts";
import { resetSocket } from "../http2/reset-socket.ts";
import type { ResolvedRange } from "./byte-range-header.ts";
import type { HttpExchange, ResponseOutput } from "./http-router.ts";

/** What lends no pieces is sent in one write up to here, headers and all; what does, in pieces of this size. */
const ONE_WRITE_BYTES_MAX = 256 * 1024;

/**
 * Sends a content, or the part of it that it was opened for; it is closed in any case. At the pace of the client: two
 * pieces are held at the most, and smaller ones while many clients are slow.
 * @param headers besides those that tell of the length.
 */
export async function sendContent(
  exchange: HttpExchange,
  content: EntryContent,
  range: ResolvedRange | undefined,
  headers: OutgoingHttpHeaders,
): Promise<void> {
  const { response } = exchange;
  const { status, headers: allHeaders } = contentHead(content.sizeBytes, range, headers);
  if (content.encoding !== "identity") {
    allHeaders["content-encoding"] = content.encoding;
    // Of what it decodes to; how long this is nobody has said.
    delete allHeaders["content-length"];
  }
  const { turns } = exchange.output;
  const sizeBytes = range?.limit ?? content.sizeBytes;
  const isOneWrite = sizeBytes <= ONE_WRITE_BYTES_MAX;
  // What is one write does not wait behind what is many.
  if (!isOneWrite) await turns.next();
  const pieces = content.lend?.();
  if (pieces === undefined && isOneWrite) {
    const reading = content.bytes();
    const bytes = reading instanceof Promise ? await reading : reading;
    turns.spend(bytes.length);
    response.writeHead(status, allHeaders).end(bytes);
    return;
  }
  try {
    const first = pieces?.take(pieceBytes(exchange));
    response.writeHead(status, allHeaders);
    if (first !== undefined && first.bytes.length === allHeaders["content-length"]) {
      turns.spend(first.bytes.length);
      response.end(first.bytes, first.giveBack);
      return;
    }
    // How long it is once it is encoded nobody has said.
    const bytesDue = content.encoding === "identity" ? sizeBytes : Number.POSITIVE_INFINITY;
    if (pieces === undefined) await writeIterated(exchange, content, bytesDue);
    else await writePieces(exchange, pieces, first, bytesDue);
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

async function writeIterated(exchange: HttpExchange, content: EntryContent, bytesDue: number): Promise<void> {
  let bytesLeft = bytesDue;
  for await (const bytes of content) {
    bytesLeft -= bytes.length;
    await writeInTurn(exchange, bytes, () => {}, bytesLeft === 0);
  }
}

/** @param first of them, taken already. */
async function writePieces(
  exchange: HttpExchange,
  pieces: LentPieces,
  first: LentPiece | undefined,
  bytesDue: number,
): Promise<void> {
  let bytesLeft = bytesDue;
  const next = (): LentPiece | undefined => pieces.take(pieceBytes(exchange));
  let piece = first;
  do {
    for (piece ??= next(); piece !== undefined; piece = next()) {
      bytesLeft -= piece.bytes.length;
      await writeInTurn(exchange, piece.bytes, piece.giveBack, bytesLeft === 0);
    }
  } while (await pieces.more());
}

/** Resolves once there may be a next piece. @throws where the client has gone. */
async function writeInTurn(
  exchange: HttpExchange,
  bytes: Uint8Array,
  giveBack: () => void,
  isLast: boolean,
): Promise<void> {
  const { turns } = exchange.output;
  turns.spend(bytes.length);
  const taking = write(exchange, bytes, giveBack);
  if (taking !== undefined) await taking;
  // The system takes megabytes for a client at once, and so, one after the other, for all of those that come together.
  const turn = isLast ? undefined : turns.next();
  if (turn !== undefined) await turn;
}

/**
 * Bounds how long an answer that was ended may wait for its client, and counts it until then: the time of a piece for
 * each that it has.
 */
export function limitUntaken(response: ServerResponse, { budget, turns, stallMsMax }: ResponseOutput): void {
  const heldBytes = response.writableLength;
  const timer = giveUpAfter(stallMsMax * Math.ceil(heldBytes / ONE_WRITE_BYTES_MAX), response, turns);
  budget.change(heldBytes);
  response.once("close", () => {
    budget.change(-heldBytes);
    clearTimeout(timer);
  });
}

function pieceBytes({ output }: HttpExchange): number {
  return Math.min(ONE_WRITE_BYTES_MAX, output.budget.shareBytes);
}

/** @returns what to wait for before the next piece: the client has taken this one. @throws where the client has gone. */
function write(exchange: HttpExchange, bytes: Uint8Array, giveBack: () => void): Promise<void> | undefined {
  const { response } = exchange;
  if (hasGone(response)) {
    giveBack();
    throw gone();
  }
  let onTaken = (): void => {};
  const hasRoom = response.write(bytes, () => {
    giveBack();
    onTaken();
  });
  // Little may wait in a socket that has room, which is much where many are slow.
  const isTaken = response.writableLength === 0 || (hasRoom && pieceBytes(exchange) === ONE_WRITE_BYTES_MAX);
  if (isTaken) return undefined;
  return untilTaken(exchange, (resolve) => void (onTaken = resolve));
}

/** @param whenTaken is given what to call once the client has taken what was written. */
async function untilTaken({ response, output }: HttpExchange, whenTaken: (resolve: () => void) => void): Promise<void> {
  const { budget, turns, stallMsMax } = output;
  const heldBytes = response.writableLength;
  const { promise, resolve } = Promise.withResolvers<void>();
  whenTaken(resolve);
  response.once("close", resolve);
  const timer = giveUpAfter(stallMsMax, response, turns);
  budget.change(heldBytes);
  await promise;
  budget.change(-heldBytes);
  clearTimeout(timer);
  response.off("close", resolve);
  if (hasGone(response)) throw gone();
}

/** The connection's own timeout begins anew with whatever the client sends. */
function giveUpAfter(stallMs: number, response: ServerResponse, turns: LoopTurns): NodeJS.Timeout {
  const timer = setTimeout(() => {
    const { socket } = response;
    // Where the client has asked for several things at once, its turn comes after the others'.
    if (socket === null) timer.refresh();
    else turns.wait(() => giveUp(response, socket, turns));
  }, stallMs);
  return timer;
}

/** Those that have come together are given up together, and the system frees megabytes for each. */
function giveUp(response: ServerResponse, socket: Socket, turns: LoopTurns): void {
  // Taken while it waited for its turn.
  if (response.writableLength === 0) return;
  turns.spend(ONE_WRITE_BYTES_MAX);
  resetSocket(socket);
}

/** The response learns of its socket's end later, and keeps what is written to it until then. */
function hasGone({ destroyed, socket }: ServerResponse): boolean {
  return destroyed || socket?.destroyed === true;
}

function gone(): CacheError {
  return new CacheError("cancelled", "the client has closed the connection");
}
