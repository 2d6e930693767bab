import { constants, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import type { Config } from "./config.ts";

/** What the server shows to clients, and whom it believes of what they show; all as PEM. */
export interface TlsIdentity {
  /** The certificate, followed by those between it and the root. */
  readonly cert: string;
  readonly key: string;
  /** The certificates of those who issue client certificates; undefined: none is asked for. */
  readonly clientCa?: string | undefined;
}

/** Forward secrecy and authenticated encryption: all that HTTP/2 allows (RFC 9113, appendix A), and no others. */
const CIPHERS = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
];

/**
 * @returns undefined where the server speaks no TLS.
 * @throws where a file cannot be read, is no PEM, or the key is not that of the certificate.
 */
export function readTlsIdentity({ tlsCertPath, tlsKeyPath, tlsClientCaPath }: Config): TlsIdentity | undefined {
  if (tlsCertPath === undefined || tlsKeyPath === undefined) return undefined;
  const clientCa = tlsClientCaPath === undefined ? undefined : readClientCa(tlsClientCaPath);
  const identity = { cert: readFileSync(tlsCertPath, "utf8"), key: readFileSync(tlsKeyPath, "utf8"), clientCa };
  try {
    createSecureContext(secureContextOptions(identity));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`--tls-cert ${tlsCertPath} and --tls-key ${tlsKeyPath} cannot be used: ${reason}`, { cause });
  }
  return identity;
}

/** OpenSSL takes a file without certificates for an authority that has issued none. */
function readClientCa(path: string): string {
  const text = readFileSync(path, "utf8");
  try {
    new X509Certificate(text);
  } catch (cause) {
    throw new Error(`--tls-client-ca ${path} cannot be used: expected certificates as PEM`, { cause });
  }
  return text;
}

export function secureContextOptions({ cert, key, clientCa }: TlsIdentity): SecureContextOptions {
  return {
    cert,
    key,
    ...(clientCa === undefined ? {} : { ca: clientCa }),
    minVersion: "TLSv1.2",
    ciphers: CIPHERS.join(":"),
    honorCipherOrder: true,
    // It costs the server more than the client, and HTTP/2 forbids it (RFC 9113, section 9.2.1).
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}
