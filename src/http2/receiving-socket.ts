import { Socket } from "node:net";

/** Read at once at the most. Larger than a socket's default of 64 KiB: fewer turns for the same bytes. */
const RECEIVE_BYTES = 128 * 1024;
/** A socket that has not taken so much is full, and emits 'drain' once it has: how much it is given is up to its owner. */
const BACKLOG_BYTES = 4 * 1024;

/**
 * All connections of this thread receive into it, one at a time: what is received is handled before the next read. A
 * buffer for each read, as sockets make them by default, costs as much as all that is done with its bytes: 0.7 against
 * 0.3 CPU seconds a GB, and 80 MiB of garbage.
 */
const received = Buffer.allocUnsafeSlow(RECEIVE_BYTES);

/** What Node keeps behind its back. Where another version does not have it, its default way of reading is used. */
interface SocketInternals {
  _handle?: object | null;
  readonly _readableState?: { readonly ended: boolean };
}

/**
 * Receives in place. Node offers that (`onread`) for sockets that connect, not for those that a server accepted, so
 * the handle of the accepted one is given to a new one; the accepted one is closed with it, and the other way round.
 */
export class ReceivingSocket {
  /** To write to, and to listen to; it emits no 'data'. */
  readonly socket: Socket;
  readonly #accepted: Socket;
  #onBytes: (bytes: Buffer) => void = () => {};

  /** @param accepted a paused socket; what it has read already is received first. */
  constructor(accepted: Socket) {
    this.#accepted = accepted;
    this.socket = this.#takeOver() ?? accepted;
  }

  /** @param onBytes gets bytes that are overwritten once it has returned. */
  start(onBytes: (bytes: Buffer) => void): void {
    this.#onBytes = onBytes;
    if (this.socket === this.#accepted) {
      this.socket.on("data", onBytes);
    } else {
      const first = this.#accepted.read() as Buffer | null;
      if (first !== null) onBytes(first);
    }
    this.socket.resume();
  }

  #takeOver(): Socket | undefined {
    const accepted = this.#accepted;
    const internals = accepted as unknown as SocketInternals;
    const handle = internals._handle;
    const isPlain = accepted.constructor === Socket && handle !== undefined && handle !== null;
    // A client that has ended its side would not be heard to do so again.
    if (!isPlain || internals._readableState?.ended !== false) return undefined;
    internals._handle = null;
    const onread = {
      buffer: received,
      callback: (byteCount: number): boolean => {
        this.#onBytes(received.subarray(0, byteCount));
        return true;
      },
    };
    const options = { handle, onread, writableHighWaterMark: BACKLOG_BYTES };
    const socket = new Socket(options as ConstructorParameters<typeof Socket>[0]);
    socket.once("close", () => accepted.destroy());
    accepted.once("close", () => socket.destroy());
    return socket;
  }
}
