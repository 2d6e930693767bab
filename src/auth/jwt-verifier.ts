import { createPublicKey } from "node:crypto";
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  errors,
  type JSONWebKeySet,
  type JWK,
  jwtVerify,
  type JWTPayload,
  type JWTVerifyGetKey,
} from "jose";
import { CacheError } from "../cache/cache-error.ts";

export interface JwtVerifierOptions {
  /** A JWKS or a JWK as JSON, or a public key or a certificate as PEM; or where a JWKS is. */
  readonly keys: string | URL;
  readonly issuer: string;
  readonly audience: string;
}

/** Signatures only: with a shared secret whoever can check a token could make one. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
/** What clocks may differ by. */
const TOLERANCE_SECONDS = 30;
/** Of the keys at a URL: how long one answer may take, how long it is good, and how soon an unknown key is asked for. */
const FETCH_TIMEOUT_MS = 5000;
const FETCHED_MS_MAX = 600_000;
const FETCH_COOLDOWN_MS = 30_000;

/** JSON Web Tokens of one issuer. */
export class JwtVerifier {
  readonly #options: JwtVerifierOptions;
  readonly #keys: JWTVerifyGetKey;

  /** @throws {Error} where `keys` is neither JSON nor PEM with keys in it. */
  constructor(options: JwtVerifierOptions) {
    this.#options = options;
    this.#keys = options.keys instanceof URL ? keysAt(options.keys) : keysIn(options.keys);
  }

  /**
   * @returns the claims, among them when it expires.
   * @throws {CacheError} unauthenticated; unavailable where the keys cannot be had.
   */
  async verify(token: string): Promise<JWTPayload & { readonly exp: number }> {
    const { issuer, audience } = this.#options;
    try {
      const { payload } = await jwtVerify(token, this.#keys, {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: TOLERANCE_SECONDS,
        requiredClaims: ["exp"],
      });
      return { ...payload, exp: payload.exp ?? 0 };
    } catch (cause) {
      throw failureOf(cause);
    }
  }
}

function keysAt(url: URL): JWTVerifyGetKey {
  return createRemoteJWKSet(url, {
    timeoutDuration: FETCH_TIMEOUT_MS,
    cacheMaxAge: FETCHED_MS_MAX,
    cooldownDuration: FETCH_COOLDOWN_MS,
  });
}

function keysIn(text: string): JWTVerifyGetKey {
  try {
    if (!text.trimStart().startsWith("{")) return onlyKey(createPublicKey(text).export({ format: "jwk" }) as JWK);
    const json = JSON.parse(text) as JSONWebKeySet | JWK;
    return "keys" in json ? createLocalJWKSet(json as JSONWebKeySet) : onlyKey(json);
  } catch (cause) {
    // What the parser says could show what is in the file.
    throw new Error("--auth-jwt-keys: expected a JWKS or JWK as JSON, or a public key or certificate as PEM", {
      cause,
    });
  }
}

/** A key by itself is the one that is meant, whatever the token calls it. */
function onlyKey(key: JWK): JWTVerifyGetKey {
  const keys = createLocalJWKSet({ keys: [key] });
  return (shown) => {
    const header = { ...shown };
    delete header.kid;
    return keys(header);
  };
}

/** What is wrong with the keys, or with what answers in their place. */
const KEY_FAULTS: ReadonlySet<string> = new Set(["ERR_JOSE_GENERIC", "ERR_JWKS_INVALID", "ERR_JWKS_TIMEOUT"]);

function failureOf(cause: unknown): CacheError {
  if (cause instanceof errors.JWTExpired)
    return new CacheError("unauthenticated", "authorization: the token has expired");
  const isTokens = cause instanceof errors.JOSEError && !KEY_FAULTS.has(cause.code);
  if (isTokens) {
    return new CacheError("unauthenticated", "authorization: the token is not valid here");
  }
  return new CacheError("unavailable", "the keys of the tokens cannot be had now", { retryAfterMs: 1000, cause });
}
