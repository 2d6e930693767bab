import type { Socket } from "node:net";

/** The socket below one of TLS, which Node keeps behind its back; each is closed with the other. */
type LayeredSocket = Socket & { readonly _parent?: Socket | null };

/**
 * Ends the connection of a client that does not take what it was sent. Were it closed as usual, the system would keep
 * what it has for that client, megabytes of it, for as long as the client reads a byte now and then, and the client would
 * not learn of the end before it has read them.
 */
export function resetSocket(socket: Socket): void {
  const lowest = (socket as LayeredSocket)._parent ?? socket;
  if (!lowest.destroyed) lowest.resetAndDestroy();
}
