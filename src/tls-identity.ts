import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";

/** What the server shows to clients, both as PEM. */
export interface TlsIdentity {
  /** The certificate, followed by those between it and the root. */
  readonly cert: Buffer;
  readonly key: Buffer;
}

/** @throws where a file cannot be read, is no PEM, or the key is not that of the certificate. */
export function readTlsIdentity(certPath: string, keyPath: string): TlsIdentity {
  const identity = { cert: readFileSync(certPath), key: readFileSync(keyPath) };
  try {
    createSecureContext(identity);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`--tls-cert ${certPath} and --tls-key ${keyPath} cannot be used: ${reason}`, { cause });
  }
  return identity;
}
