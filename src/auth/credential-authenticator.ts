import { createHmac, randomBytes } from "node:crypto";
import { CacheError } from "../cache/cache-error.ts";
import { GenerationCache } from "../cache/generation-cache.ts";
import type { Clock } from "../clock.ts";
import { type AccessRules, type Identity, oneRole, parseAccessRules } from "./access-rules.ts";
import type { Authenticator, ClientCertificate, ShownCredentials } from "./authorizer.ts";
import { ALL_INSTANCES, Caller, type Validity } from "./caller.ts";
import { CheckQueue } from "./check-queue.ts";
import type { CredentialFiles } from "./credential-files.ts";
import { JwtVerifier, type JwtVerifierOptions } from "./jwt-verifier.ts";
import { type PasswordChecker, PasswordTable } from "./password-table.ts";
import type { Role } from "./role.ts";
import { TokenTable } from "./token-table.ts";

export interface CredentialAuthenticatorOptions {
  readonly files: CredentialFiles;
  /** How JWTs are checked; undefined: none is taken. */
  readonly jwt: JwtVerifierOptions | undefined;
  /** Without a file of rules: what whoever is known may do. */
  readonly authenticatedRole: Role;
  /** What those may do who show nothing. */
  readonly anonymousRole: Role;
  readonly passwords: PasswordChecker;
  readonly clock: Clock;
}

/** Credentials found right, and found wrong, that are remembered. */
const KNOWN_MAX = 4096;
const REFUSED_MAX = 1024;
/** A client that has the wrong password sends it with each of a thousand calls. */
const REFUSED_MS = 10_000;

interface Refusal {
  readonly error: CacheError;
  /** On the monotonic clock. */
  readonly untilMs: number;
}

/**
 * Finds out callers by what the files say: by password, token, JWT or client certificate. What takes time is done once:
 *
 *     authorization ─► keyed hash ─┬─ known ────────────────────────────────► Caller
 *                                  ├─ refused lately ───────────────────────► unauthenticated
 *                                  └─ new ─┬─ token: a look-up ─────────────► either
 *                                          └─ password, JWT: CheckQueue ····► either
 *
 * Neither the credentials nor plain hashes of them are kept.
 */
export class CredentialAuthenticator implements Authenticator {
  readonly #clock: Clock;
  readonly #secret = randomBytes(32);
  readonly #rules: AccessRules;
  readonly #users: PasswordTable | undefined;
  readonly #tokens: TokenTable | undefined;
  readonly #jwts: JwtVerifier | undefined;
  readonly #anonymous: Caller;
  readonly #known = new GenerationCache<string, Caller>({ costMax: KNOWN_MAX });
  readonly #refused = new GenerationCache<string, Refusal>({ costMax: REFUSED_MAX });
  readonly #checks = new CheckQueue<Caller>();
  #isRetired = false;

  /** @throws {Error} for a file that says nothing sound. */
  constructor(options: CredentialAuthenticatorOptions) {
    const { files, jwt, authenticatedRole, anonymousRole, passwords, clock } = options;
    this.#clock = clock;
    this.#rules = files.rules === undefined ? oneRole(authenticatedRole) : parseAccessRules(files.rules);
    this.#users = files.htpasswd === undefined ? undefined : new PasswordTable(files.htpasswd, passwords);
    this.#tokens = files.tokens === undefined ? undefined : new TokenTable(files.tokens, this.#keyOf);
    this.#jwts = jwt === undefined ? undefined : new JwtVerifier(jwt);
    this.#anonymous = new Caller({
      grants: [{ role: anonymousRole, instances: [ALL_INSTANCES] }],
      validity: this.#validity(Infinity),
    });
  }

  /** Another one takes its place: every caller has to be found out again. */
  retire(): void {
    this.#isRetired = true;
  }

  identify({ authorization, certificate, peer }: ShownCredentials): Caller | Promise<Caller> {
    if (authorization !== undefined) return this.#identifyBy(authorization, peer);
    return certificate === undefined ? this.#anonymous : this.#bearerOf(certificate);
  }

  #identifyBy(authorization: string, peer: string): Caller | Promise<Caller> {
    const key = this.#keyOf(authorization);
    const known = this.#known.get(key);
    if (known?.isCurrent === true) return known;
    const refused = this.#refused.get(key);
    if (refused !== undefined && this.#clock.monotonicMs() < refused.untilMs) throw refused.error;
    const { scheme, name, secret } = parseAuthorization(authorization);
    const tokenName = this.#tokens?.nameOf(secret);
    if (tokenName !== undefined && (scheme === "bearer" || name === tokenName)) {
      return this.#remember(key, { kind: "token", name: tokenName }, Infinity);
    }
    const check = scheme === "basic" ? this.#passwordCheck(key, name, secret) : this.#jwtCheck(key, secret);
    if (check === undefined) throw this.#refuse(key, wrong());
    return this.#checks.run(key, addressOf(peer), async () => {
      try {
        return await check();
      } catch (error) {
        throw error instanceof CacheError && error.code === "unauthenticated" ? this.#refuse(key, error) : error;
      }
    });
  }

  #passwordCheck(key: string, name: string, password: string): (() => Promise<Caller>) | undefined {
    const users = this.#users;
    if (users === undefined) return undefined;
    return async () => {
      if (!(await users.verify(name, password))) throw wrong();
      return this.#remember(key, { kind: "user", name }, Infinity);
    };
  }

  #jwtCheck(key: string, token: string): (() => Promise<Caller>) | undefined {
    const jwts = this.#jwts;
    if (jwts === undefined) return undefined;
    return async () => {
      const claims = await jwts.verify(token);
      return this.#remember(key, { kind: "jwt", name: claims.sub ?? "", claims }, claims.exp * 1000);
    };
  }

  #bearerOf({ commonName, validUntilMs }: ClientCertificate): Caller {
    const caller = this.#caller({ kind: "certificate", name: commonName }, validUntilMs);
    if (caller.isCurrent) return caller;
    throw new CacheError("unauthenticated", "the client certificate has expired");
  }

  #remember(key: string, identity: Identity, validUntilMs: number): Caller {
    const caller = this.#caller(identity, validUntilMs);
    this.#known.set(key, caller, 1);
    return caller;
  }

  #refuse(key: string, error: CacheError): CacheError {
    this.#refused.set(key, { error, untilMs: this.#clock.monotonicMs() + REFUSED_MS }, 1);
    return error;
  }

  #caller(identity: Identity, validUntilMs: number): Caller {
    return new Caller({
      name: `${identity.kind} ${identity.name}`,
      grants: this.#rules.grantsOf(identity),
      validity: this.#validity(validUntilMs),
    });
  }

  /** @param untilMs since the epoch, which is what credentials are valid by. */
  #validity(untilMs: number): Validity {
    const isOver = (): boolean => this.#isRetired || (untilMs !== Infinity && this.#clock.wallMs() >= untilMs);
    return {
      get isOver() {
        return isOver();
      },
    };
  }

  readonly #keyOf = (text: string): string => createHmac("sha256", this.#secret).update(text).digest("base64");
}

interface Authorization {
  readonly scheme: "basic" | "bearer";
  /** Of a bearer it is not known yet. */
  readonly name: string;
  readonly secret: string;
}

/** @throws {CacheError} unauthenticated where it is of no form that is taken (RFC 7617, RFC 6750). */
function parseAuthorization(text: string): Authorization {
  const [, scheme = "", value = ""] = /^(basic|bearer) +([\w.~+/=-]+) *$/i.exec(text) ?? [];
  switch (scheme.toLowerCase()) {
    case "bearer":
      return { scheme: "bearer", name: "", secret: value };
    case "basic": {
      const decoded = Buffer.from(value, "base64").toString();
      const colon = decoded.indexOf(":");
      if (colon !== -1) return { scheme: "basic", name: decoded.slice(0, colon), secret: decoded.slice(colon + 1) };
    }
  }
  throw new CacheError("unauthenticated", "authorization: expected Basic or Bearer credentials");
}

/** One answer for a name that is not there and for a secret that is wrong. */
function wrong(): CacheError {
  return new CacheError("unauthenticated", "authorization: these credentials are not valid here");
}

function addressOf(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(":"));
}
