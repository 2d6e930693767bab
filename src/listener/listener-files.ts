import { isDeepStrictEqual } from "node:util";
import { type CredentialFiles, readCredentialFiles } from "../auth/credential-files.ts";
import type { Config } from "../config.ts";
import { readTlsIdentity, type TlsIdentity } from "../tls-identity.ts";

/** What all listeners have out of files that may change while the server runs. */
export interface ListenerFiles {
  readonly tls: TlsIdentity | undefined;
  readonly credentials: CredentialFiles;
}

/** @throws {Error} naming the file that cannot be read, or is not what it should be. */
export function readListenerFiles(config: Config): ListenerFiles {
  return { tls: readTlsIdentity(config), credentials: readCredentialFiles(config) };
}

export function areSameFiles(one: ListenerFiles, other: ListenerFiles): boolean {
  return isDeepStrictEqual(one, other);
}

/** Whether there is anything to read again. */
export function hasListenerFiles({ tls, credentials }: ListenerFiles): boolean {
  return tls !== undefined || Object.values(credentials).some((text) => text !== undefined);
}
