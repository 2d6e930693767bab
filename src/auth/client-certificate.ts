import type { Socket } from "node:net";
import { type PeerCertificate, TLSSocket } from "node:tls";
import type { ClientCertificate } from "./authorizer.ts";

/** What the client of a connection has shown; the handshake has verified it. */
export function clientCertificateOf(socket: Socket): ClientCertificate | undefined {
  return socket instanceof TLSSocket && socket.authorized ? certificateFrom(socket.getPeerCertificate()) : undefined;
}

/** @returns undefined where there is none, or where it has no common name or several. */
export function certificateFrom(certificate: PeerCertificate | undefined): ClientCertificate | undefined {
  // Node gives an empty object where there is none.
  const commonName: unknown = certificate?.subject?.CN;
  if (certificate === undefined || typeof commonName !== "string") return undefined;
  return { commonName, validUntilMs: Date.parse(certificate.valid_to) };
}
