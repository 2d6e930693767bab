import { hash } from "node:crypto";
import { bcrypt } from "hash-wasm";
import { exportJWK, exportSPKI, generateKeyPair, type JWTPayload, SignJWT } from "jose";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ClientCertificate } from "../../src/auth/authorizer.ts";
import type { Caller } from "../../src/auth/caller.ts";
import {
  CredentialAuthenticator,
  type CredentialAuthenticatorOptions,
} from "../../src/auth/credential-authenticator.ts";
import type { CredentialFiles } from "../../src/auth/credential-files.ts";
import { PasswordPool } from "../../src/auth/password-pool.ts";
import { LocalOrigin } from "../support/local-origin.ts";

const NO_FILES: CredentialFiles = { htpasswd: undefined, tokens: undefined, jwtKeys: undefined, rules: undefined };
const TOKEN = "a token";
const TOKENS = `# who builds\n\nci:${hash("sha256", TOKEN)}\n`;
const bearer = (token: string): string => `Bearer ${Buffer.from(token).toString("base64url")}`;
const basic = (name: string, password: string): string =>
  `Basic ${Buffer.from(`${name}:${password}`).toString("base64")}`;

/** Says yes to one password, when it is told to, and counts. */
class SlowChecker {
  readonly asked: string[] = [];
  readonly #answered = Promise.withResolvers<void>();

  async verify(password: string): Promise<boolean> {
    this.asked.push(password);
    await this.#answered.promise;
    return password === "right";
  }

  answer(): void {
    this.#answered.resolve();
  }
}

function clock(wallMs = 0) {
  return { nowMs: wallMs, wallMs: () => times.nowMs, monotonicMs: () => times.nowMs };
}
let times = clock();

function authenticator(options: Partial<CredentialAuthenticatorOptions> = {}): CredentialAuthenticator {
  times = clock(Date.now());
  const passwords = options.passwords ?? new SlowChecker();
  return new CredentialAuthenticator({
    files: NO_FILES,
    jwt: undefined,
    authenticatedRole: "ac-writer",
    anonymousRole: "none",
    clock: times,
    ...options,
    passwords,
  });
}

async function identify(
  tested: CredentialAuthenticator,
  authorization: string | undefined,
  { peer = "10.0.0.1:999", certificate }: { peer?: string; certificate?: ClientCertificate } = {},
): Promise<Caller> {
  return await tested.identify({ authorization, certificate, peer });
}

const HTPASSWD = `alice:$2y$04$${"a".repeat(53)}\n`;

describe("passwords", () => {
  test("of an htpasswd file are checked in a thread of their own", async () => {
    const pool = new PasswordPool();
    onTestFinished(() => pool[Symbol.asyncDispose]());
    const salt = Buffer.alloc(16, 7);
    const [alice, bob] = await Promise.all(
      ["pass:wörd", "other"].map((password) => bcrypt({ password, salt, costFactor: 4 })),
    );
    const htpasswd = `alice:${alice}\nbob:${bob!.replace("$2a", "$2y")}\n`;
    const tested = authenticator({ files: { ...NO_FILES, htpasswd }, passwords: pool });
    expect((await identify(tested, basic("alice", "pass:wörd"))).name).toBe("user alice");
    expect((await identify(tested, basic("bob", "other"))).name).toBe("user bob");
    for (const [name, password] of [
      ["alice", "other"],
      ["carol", "other"],
      ["alice", ""],
      ["alice", "x".repeat(73)],
    ]) {
      await expect(identify(tested, basic(name!, password!))).rejects.toMatchObject({ code: "unauthenticated" });
    }
  });

  test("that are sent many times at once are checked once, and then known", async () => {
    const passwords = new SlowChecker();
    const tested = authenticator({ files: { ...NO_FILES, htpasswd: HTPASSWD }, passwords });
    const callers = Array.from({ length: 200 }, () => identify(tested, basic("alice", "right")));
    passwords.answer();
    expect(new Set(await Promise.all(callers)).size).toBe(1);
    expect(tested.identify({ authorization: basic("alice", "right"), certificate: undefined, peer: "" })).toBe(
      await callers[0],
    );
    expect(passwords.asked).toEqual(["right"]);
  });

  test("that are wrong are not checked again for a while", async () => {
    const passwords = new SlowChecker();
    passwords.answer();
    const tested = authenticator({ files: { ...NO_FILES, htpasswd: HTPASSWD }, passwords });
    const refused = { code: "unauthenticated", message: "authorization: these credentials are not valid here" };
    await expect(identify(tested, basic("alice", "wrong"))).rejects.toMatchObject(refused);
    await expect(identify(tested, basic("alice", "wrong"))).rejects.toMatchObject(refused);
    expect(passwords.asked).toEqual(["wrong"]);
    times.nowMs += 10_000;
    await expect(identify(tested, basic("alice", "wrong"))).rejects.toMatchObject(refused);
    expect(passwords.asked).toEqual(["wrong", "wrong"]);
  });

  test("for a name that is not there are checked as long as for one that is", async () => {
    const passwords = new SlowChecker();
    passwords.answer();
    const tested = authenticator({ files: { ...NO_FILES, htpasswd: HTPASSWD }, passwords });
    await expect(identify(tested, basic("mallory", "right"))).rejects.toMatchObject({ code: "unauthenticated" });
    expect(passwords.asked).toEqual(["right"]);
  });

  test("by the hundred leave room for other addresses, and are bounded in all; who is known is not held up", async () => {
    const passwords = new SlowChecker();
    const tested = authenticator({ files: { ...NO_FILES, htpasswd: HTPASSWD, tokens: TOKENS }, passwords });
    const guesses = (peer: string): Promise<string>[] =>
      Array.from({ length: 100 }, (_, guess) =>
        identify(tested, basic("alice", `guess ${guess} ${peer}`), { peer }).then(
          () => "let in",
          (error: { code: string }) => error.code,
        ),
      );
    const flood = [1, 2, 3, 4, 5].map((host) => guesses(`10.0.0.${host}:1`));
    const right = identify(tested, basic("alice", "right"), { peer: "10.0.0.9:1" });
    await expect(right).rejects.toMatchObject({ code: "resource_exhausted", retryAfterMs: 1000 });
    expect((await identify(tested, basic("ci", TOKEN), { peer: "10.0.0.1:1" })).name).toBe("token ci");
    passwords.answer();
    const outcomes = await Promise.all(flood.map((ofOne) => Promise.all(ofOne)));
    const checked = outcomes.map((ofOne) => ofOne.filter((outcome) => outcome === "unauthenticated").length);
    expect(checked).toEqual([16, 16, 16, 16, 0]);
    expect((await identify(tested, basic("alice", "right"), { peer: "10.0.0.9:1" })).name).toBe("user alice");
  });
});

describe("tokens", () => {
  test("are taken as Bearer and as the password of their name", async () => {
    const token = Buffer.from(TOKEN).toString("base64url");
    const tested = authenticator({ files: { ...NO_FILES, tokens: `ci:${hash("sha256", token)}` } });
    expect((await identify(tested, `Bearer ${token}`)).name).toBe("token ci");
    expect((await identify(tested, `bearer ${token}`)).name).toBe("token ci");
    expect((await identify(tested, basic("ci", token))).name).toBe("token ci");
    await expect(identify(tested, basic("other", token))).rejects.toMatchObject({ code: "unauthenticated" });
    await expect(identify(tested, `Bearer ${hash("sha256", token)}`)).rejects.toMatchObject({
      code: "unauthenticated",
    });
  });

  test("are not asked for where nothing is shown, and no other form is taken", async () => {
    const tested = authenticator({ files: { ...NO_FILES, tokens: TOKENS }, anonymousRole: "reader" });
    const anonymous = await identify(tested, undefined);
    expect([anonymous.name, anonymous.has("reader", ""), anonymous.has("cas-writer", "")]).toEqual([
      undefined,
      true,
      false,
    ]);
    for (const text of ["", "Bearer", "Basic !", `Basic ${btoa("no colon")}`, "Negotiate abc", bearer("wrong")]) {
      await expect(identify(tested, text)).rejects.toMatchObject({ code: "unauthenticated" });
    }
  });
});

describe("JSON Web Tokens", async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const stranger = await generateKeyPair("ES256");
  const jwks = JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "one" }] });
  const rules = "- { jwt: { sub: ci }, role: reader }";
  const jwt = { keys: jwks, issuer: "issuer", audience: "kura" };
  const nowSeconds = Math.floor(Date.now() / 1000);
  const good = { iss: "issuer", aud: "kura", sub: "ci", exp: nowSeconds + 60 };

  async function signed(claims: JWTPayload, key = privateKey, kid = "one"): Promise<string> {
    return `Bearer ${await new SignJWT(claims).setProtectedHeader({ alg: "ES256", kid }).sign(key)}`;
  }

  test("give the roles of the rules until they expire", async () => {
    const tested = authenticator({ files: { ...NO_FILES, rules }, jwt });
    const caller = await identify(tested, await signed(good));
    expect([caller.name, caller.has("reader", "any"), caller.isCurrent]).toEqual(["jwt ci", true, true]);
    times.nowMs = good.exp * 1000;
    expect(caller.isCurrent).toBe(false);
  });

  test.each<[string, () => Promise<string>]>([
    ["expired", () => signed({ ...good, exp: nowSeconds - 3600 })],
    ["without an end", () => signed({ iss: "issuer", aud: "kura", sub: "ci" })],
    ["not valid yet", () => signed({ ...good, nbf: nowSeconds + 3600 })],
    ["of another issuer", () => signed({ ...good, iss: "other" })],
    ["for another audience", () => signed({ ...good, aud: "other" })],
    ["signed with another key", () => signed(good, stranger.privateKey)],
    ["signed with a key that is not there", () => signed(good, privateKey, "two")],
    [
      "changed",
      async () =>
        (await signed(good)).replace(
          /\.[^.]*\./,
          `.${btoa(JSON.stringify({ ...good, sub: "boss" })).replace(/=+$/, "")}.`,
        ),
    ],
    ["signed with nothing", async () => `Bearer ${btoa('{"alg":"none"}').replace(/=+$/, "")}.${btoa("{}")}.`],
    ["signed with the public key as a secret", () => signedByPublicKey()],
    ["none at all", async () => "Bearer abc"],
  ])("that are %s are refused", async (_what, make) => {
    const tested = authenticator({ files: { ...NO_FILES, rules }, jwt });
    await expect(identify(tested, await make())).rejects.toMatchObject({ code: "unauthenticated" });
  });

  async function signedByPublicKey(): Promise<string> {
    const jwtByHmac = new SignJWT(good).setProtectedHeader({ alg: "HS256", kid: "one" });
    return `Bearer ${await jwtByHmac.sign(Buffer.from(jwks))}`;
  }

  test("are checked with a public key as PEM or a JWK, whatever they call it", async () => {
    for (const keys of [await exportSPKI(publicKey), JSON.stringify(await exportJWK(publicKey))]) {
      const tested = authenticator({ files: { ...NO_FILES, rules }, jwt: { ...jwt, keys } });
      expect((await identify(tested, await signed(good, privateKey, "any"))).name).toBe("jwt ci");
    }
    expect(() => authenticator({ jwt: { ...jwt, keys: "{ nonsense" } })).toThrow("--auth-jwt-keys: expected");
    expect(() => authenticator({ jwt: { ...jwt, keys: "nonsense" } })).toThrow("--auth-jwt-keys: expected");
  });

  test("are checked with the keys at a URL, which are fetched once; the fault is ours where they cannot be had", async () => {
    await using origin = await LocalOrigin.start();
    const keys = origin.on(
      "/jwks",
      (response) => response.writeHead(500).end(),
      (response) => response.writeHead(200, { "content-type": "application/json" }).end(jwks),
    );
    const tested = authenticator({ files: { ...NO_FILES, rules }, jwt: { ...jwt, keys } });
    const token = await signed(good);
    await expect(identify(tested, token)).rejects.toMatchObject({ code: "unavailable", retryAfterMs: 1000 });
    expect((await identify(tested, token)).name).toBe("jwt ci");
    await identify(tested, await signed({ ...good, jti: "another" }));
    expect(origin.requestCount).toBe(2);
  });
});

describe("client certificates", () => {
  const certificate = { commonName: "runner-1", validUntilMs: Date.now() + 60_000 };

  test("make a caller known, until they end; credentials in the header go first", async () => {
    const rules = "- { certificate: runner-*, role: cas-writer }\n- { token: ci, role: reader }";
    const tested = authenticator({ files: { ...NO_FILES, tokens: TOKENS, rules } });
    const caller = await identify(tested, undefined, { certificate });
    expect([caller.name, caller.has("cas-writer", "")]).toEqual(["certificate runner-1", true]);
    expect((await identify(tested, basic("ci", TOKEN), { certificate })).name).toBe("token ci");
    await expect(identify(tested, "Bearer wrong", { certificate })).rejects.toMatchObject({ code: "unauthenticated" });
    times.nowMs = certificate.validUntilMs;
    expect(caller.isCurrent).toBe(false);
    await expect(identify(tested, undefined, { certificate })).rejects.toThrow("has expired");
  });
});

test("once others take over, nobody is known any more", async () => {
  const tested = authenticator({ files: { ...NO_FILES, tokens: TOKENS } });
  const caller = await identify(tested, basic("ci", TOKEN));
  expect(caller.isCurrent).toBe(true);
  tested.retire();
  expect(caller.isCurrent).toBe(false);
});

test.each([
  [
    "htpasswd",
    "alice:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
    "--auth-htpasswd, line 1: expected NAME:HASH with a bcrypt hash",
  ],
  ["htpasswd", "alice", "--auth-htpasswd, line 1: expected"],
  ["htpasswd", HTPASSWD + HTPASSWD, "--auth-htpasswd, line 2: the name is there already"],
  ["tokens", "\nci:a-token-as-it-is", "--auth-tokens, line 2: expected NAME:HASH with the SHA-256"],
] as const)("a file of %s with %j is refused, and nothing of it is shown", (file, text, problem) => {
  const open = (): unknown => authenticator({ files: { ...NO_FILES, [file]: text } });
  expect(open).toThrow(problem);
  expect(open).not.toThrow(/a-token-as-it-is|W6ph5|aaaa/);
});
