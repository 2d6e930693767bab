import { CacheError } from "../cache/cache-error.ts";
import type { Caller } from "./caller.ts";
import type { Role } from "./role.ts";

/** What a request shows of who makes it. */
export interface ShownCredentials {
  /** The header field. */
  readonly authorization: string | undefined;
  /** Of the connection, verified. */
  readonly certificate: ClientCertificate | undefined;
  /** `address:port` */
  readonly peer: string;
}

export interface ClientCertificate {
  readonly commonName: string;
  /** Since the epoch. */
  readonly validUntilMs: number;
}

/** Finds out who makes a request. */
export interface Authenticator {
  /**
   * @returns a promise where it takes time to find out.
   * @throws {CacheError} unauthenticated for credentials that are wrong, resource_exhausted for too many to look at.
   */
  identify(shown: ShownCredentials): Caller | Promise<Caller>;
}

/** Why a request is refused, for the metrics. */
export type RefusalKind = "no_credentials" | "bad_credentials" | "not_allowed" | "busy";

export interface AuthorizerOptions {
  readonly authenticator: Authenticator;
  readonly onRefused: (kind: RefusalKind) => void;
}

/** Who may do what: the one judge of every protocol. An edge asks {@link admit} before it reads what it would keep. */
export class Authorizer {
  readonly #authenticator: Authenticator;
  readonly #onRefused: (kind: RefusalKind) => void;

  constructor({ authenticator, onRefused }: AuthorizerOptions) {
    this.#authenticator = authenticator;
    this.#onRefused = onRefused;
  }

  /**
   * Who makes the request.
   * @param role that it needs, in `instanceName` or, where that is not known yet, in any instance.
   * @throws {CacheError} unauthenticated, permission_denied, or resource_exhausted; none says more of what is stored.
   */
  admit(role: Role, instanceName: string | undefined, shown: ShownCredentials): Caller | Promise<Caller> {
    let caller;
    try {
      caller = this.#authenticator.identify(shown);
    } catch (error) {
      throw this.#counted(error);
    }
    if (!(caller instanceof Promise)) return this.#checked(caller, role, instanceName);
    return caller.then(
      (found) => this.#checked(found, role, instanceName),
      (error: unknown) => {
        throw this.#counted(error);
      },
    );
  }

  /** @throws {CacheError} unauthenticated where showing credentials may help, else permission_denied. */
  check(caller: Caller, role: Role, instanceName: string | undefined): void {
    if (caller.has(role, instanceName)) return;
    if (caller.name === undefined) {
      this.#onRefused("no_credentials");
      throw new CacheError("unauthenticated", `authorization: expected credentials of a caller with the role ${role}`);
    }
    this.#onRefused("not_allowed");
    const where = instanceName === undefined ? "any instance" : `instance ${JSON.stringify(instanceName)}`;
    throw new CacheError("permission_denied", `this caller does not have the role ${role} in ${where}`);
  }

  #checked(caller: Caller, role: Role, instanceName: string | undefined): Caller {
    this.check(caller, role, instanceName);
    return caller;
  }

  #counted(error: unknown): unknown {
    if (error instanceof CacheError) this.#onRefused(error.code === "unauthenticated" ? "bad_credentials" : "busy");
    return error;
  }
}
