import { hash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import type { MethodDefinition } from "@grpc/proto-loader";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { pino } from "pino";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { type Role, roleIncludes } from "../../src/auth/role.ts";
import { EntryActionCache } from "../../src/cache/entry-action-cache.ts";
import { casKey } from "../../src/cache/entry-key.ts";
import { type Config, loadConfig } from "../../src/config.ts";
import { PROTO_PACKAGES } from "../../src/grpc/proto-definitions.ts";
import { HttpRouter } from "../../src/http/http-router.ts";
import { type Engine, type KuraServer, startServer } from "../../src/server.ts";
import { digestOf } from "../support/cache-client.ts";
import { MemoryEngine } from "../support/memory-engine.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { type Asked, REQUESTS } from "./matrix-requests.ts";

/** The least role that each rpc and route needs, said here once more and apart from what the server goes by. */
const LEAST_ROLE: Readonly<Record<string, Role>> = {
  "/build.bazel.remote.asset.v1.Fetch/FetchBlob": "reader",
  "/build.bazel.remote.asset.v1.Fetch/FetchDirectory": "reader",
  "/build.bazel.remote.asset.v1.Push/PushBlob": "ac-writer",
  "/build.bazel.remote.asset.v1.Push/PushDirectory": "ac-writer",
  "/build.bazel.remote.execution.v2.ActionCache/GetActionResult": "reader",
  "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult": "ac-writer",
  "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities": "reader",
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs": "reader",
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs": "cas-writer",
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs": "reader",
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree": "reader",
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/SplitBlob": "reader",
  "/build.bazel.remote.execution.v2.ContentAddressableStorage/SpliceBlob": "cas-writer",
  "/build.bazel.remote.execution.v2.Execution/Execute": "reader",
  "/build.bazel.remote.execution.v2.Execution/WaitExecution": "reader",
  "/google.bytestream.ByteStream/Read": "reader",
  "/google.bytestream.ByteStream/Write": "cas-writer",
  "/google.bytestream.ByteStream/QueryWriteStatus": "cas-writer",
  "/grpc.health.v1.Health/Check": "none",
  "/grpc.health.v1.Health/Watch": "none",
  "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": "reader",
  "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": "reader",
  "GET /main/cas/:hash": "reader",
  "PUT /main/cas/:hash": "cas-writer",
  "GET /main/ac/:hash": "reader",
  "PUT /main/ac/:hash": "ac-writer",
  "GET /gradle/:key": "reader",
  "PUT /gradle/:key": "ac-writer",
  "GET /v1/cache/:key": "reader",
  "PUT /v1/cache/:key": "ac-writer",
  "GET /nx/v1/cache/:key": "reader",
  "PUT /nx/v1/cache/:key": "ac-writer",
  "GET /ccache/:name": "reader",
  "PUT /ccache/:name": "ac-writer",
  "GET /ccache/:directory(^[0-9a-z]{2}$)/:name": "reader",
  "PUT /ccache/:directory(^[0-9a-z]{2}$)/:name": "ac-writer",
  "GET /v8/artifacts/status": "reader",
  "POST /v8/artifacts/events": "reader",
  "POST /v8/artifacts": "reader",
  "GET /v8/artifacts/:hash": "reader",
  "PUT /v8/artifacts/:hash": "ac-writer",
  "OPTIONS /v8/artifacts": "none",
  "OPTIONS /v8/artifacts/status": "none",
  "OPTIONS /v8/artifacts/events": "none",
  "OPTIONS /v8/artifacts/:hash": "none",
  "GET /turbo/v8/artifacts/status": "reader",
  "POST /turbo/v8/artifacts/events": "reader",
  "POST /turbo/v8/artifacts": "reader",
  "GET /turbo/v8/artifacts/:hash": "reader",
  "PUT /turbo/v8/artifacts/:hash": "ac-writer",
  "OPTIONS /turbo/v8/artifacts": "none",
  "OPTIONS /turbo/v8/artifacts/status": "none",
  "OPTIONS /turbo/v8/artifacts/events": "none",
  "OPTIONS /turbo/v8/artifacts/:hash": "none",
  "GET /metro/:key": "reader",
  "PUT /metro/:key": "ac-writer",
  "GET /sccache/*": "reader",
  "PUT /sccache/*": "ac-writer",
  "PROPFIND /sccache/*": "reader",
  "MKCOL /sccache/*": "ac-writer",
  "OPTIONS /sccache/*": "reader",
  "GET /xcode/api/cache/cas/:id": "reader",
  "POST /xcode/api/cache/cas/:id": "ac-writer",
  "PUT /xcode/api/cache/cas/:id": "ac-writer",
  "GET /xcode/api/cache/keyvalue/:id": "reader",
  "PUT /xcode/api/cache/keyvalue": "ac-writer",
  "GET /healthz": "none",
  "GET /readyz": "none",
  "GET /status": "admin",
  "GET /metrics": "admin",
};

/** Rpcs under proto/ that Kura does not have: nobody learns more than that. */
const NOT_THERE = ["/google.longrunning.Operations/", "/build.bazel.remote.logstream.v1.LogStreamService/"];

interface CallerCase {
  readonly name: string;
  /** What it may do in the instance it asks for; undefined: nobody knows it. */
  readonly role: Role | undefined;
  /** What it may do in another one, and so where no instance is concerned. */
  readonly roleElsewhere?: Role;
  readonly authorization: () => string | undefined;
}

const TOKENS = {
  reader: "t-reader",
  "cas-writer": "t-cas",
  "ac-writer": "t-ac",
  admin: "t-admin",
  elsewhere: "t-else",
};
const bearer = (token: string) => (): string => `Bearer ${token}`;
let expiredJwt = "";
let goodJwt = "";

const CALLERS: readonly CallerCase[] = [
  { name: "nobody", role: undefined, authorization: () => undefined },
  { name: "a wrong token", role: undefined, authorization: bearer("t-wrong") },
  { name: "a wrong password", role: undefined, authorization: () => `Basic ${btoa("alice:guess")}` },
  { name: "credentials of no form", role: undefined, authorization: () => "Digest username=alice" },
  { name: "an expired token", role: undefined, authorization: () => `Bearer ${expiredJwt}` },
  { name: "a caller of another instance", role: "none", roleElsewhere: "ac-writer", authorization: bearer("t-else") },
  { name: "a reader", role: "reader", authorization: bearer(TOKENS.reader) },
  { name: "a reader by JWT", role: "reader", authorization: () => `Bearer ${goodJwt}` },
  { name: "a CAS writer", role: "cas-writer", authorization: bearer(TOKENS["cas-writer"]) },
  { name: "an AC writer", role: "ac-writer", authorization: bearer(TOKENS["ac-writer"]) },
  { name: "an admin", role: "admin", authorization: bearer(TOKENS.admin) },
];

/** Each protocol whose routes name no instance is one by itself. */
const INSTANCES = "[main, gradle, nx, ccache, turborepo, sccache, metro, xcode]";
const RULES = `
- { token: reader, role: reader, instances: ${INSTANCES} }
- { token: cas-writer, role: cas-writer, instances: ${INSTANCES} }
- { token: ac-writer, role: ac-writer, instances: ${INSTANCES} }
- { token: admin, role: admin }
- { token: elsewhere, role: ac-writer, instances: ["other/*"] }
- { jwt: { sub: dev }, role: reader, instances: ${INSTANCES} }
`;
/** Routes that concern no instance. */
const OF_THE_PROCESS = ["GET /healthz", "GET /readyz", "GET /status", "GET /metrics"];

const BYTES = Buffer.from("what is there already");
const present = (): Asked => ({ instanceName: "main", digest: digestOf(BYTES), bytes: BYTES });
let absentCount = 0;
/** Another one each time: those who may write do. */
function absent(): Asked {
  const bytes = Buffer.from(`what is not there yet, number ${absentCount++}`);
  return { instanceName: "main", digest: digestOf(bytes), bytes };
}

const RPCS: readonly MethodDefinition<object, object>[] = Object.values(PROTO_PACKAGES).flatMap((definition) =>
  "format" in definition ? [] : Object.values(definition),
);

type Answer = "answered" | "unauthenticated" | "not allowed";
const HTTP_ANSWERS: Readonly<Record<number, Answer>> = { 401: "unauthenticated", 403: "not allowed" };

interface Outcome {
  readonly code: number;
  readonly details: string;
}

let directory: TemporaryDirectory;
/** See each route that is registered. */
const routeSpy = vi.spyOn(HttpRouter.prototype, "route");
const endingSpy = vi.spyOn(HttpRouter.prototype, "routeEnding");

function fileOf(name: string, content: string): string {
  const path = join(directory.path, name);
  writeFileSync(path, content);
  return path;
}

beforeAll(async () => {
  directory = await makeTemporaryDirectory("authorization");
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  fileOf("jwks", JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: "one" }] }));
  const signed = (expiresAt: number): Promise<string> =>
    new SignJWT({ sub: "dev", iss: "test", aud: "kura", exp: expiresAt })
      .setProtectedHeader({ alg: "ES256", kid: "one" })
      .sign(privateKey);
  const nowSeconds = Math.floor(Date.now() / 1000);
  expiredJwt = await signed(nowSeconds - 3600);
  goodJwt = await signed(nowSeconds + 3600);
  fileOf(
    "tokens",
    Object.entries(TOKENS)
      .map(([name, token]) => `${name}:${hash("sha256", token)}\n`)
      .join(""),
  );
  fileOf("htpasswd", "alice:$2y$04$GmkIDX9nOMYqRTl.GEU3EuZWG2RQLI0MKSnQnTyj0RWMBvs3rRVXe\n");
  fileOf("rules", RULES);
});

afterAll(async () => {
  vi.restoreAllMocks();
  await directory[Symbol.asyncDispose]();
});

function testConfig(transport: string): Config {
  const file = (name: string): string => join(directory.path, name);
  const invocation = loadConfig(
    ["--port", "0", "--dir", "/nonexistent", "--max-size", "1GiB", "--grpc-transport", transport].concat(
      ["--auth-tokens", file("tokens"), "--auth-htpasswd", file("htpasswd"), "--auth-rules", file("rules")],
      ["--auth-jwt-keys", file("jwks"), "--auth-jwt-issuer", "test", "--auth-jwt-audience", "kura"],
      ["--status-role", "admin"],
    ),
    {},
  );
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  return invocation.config;
}

/** The engine, and how often anything was asked of its entries. */
function watchedEngine(engine: MemoryEngine, onUse: () => void): Engine {
  const watched = new Set<string | symbol>(["peek", "find", "get", "stage", "attach", "put", "putAll"]);
  return new Proxy(engine, {
    get(target, name) {
      if (watched.has(name)) onUse();
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}

describe.each(["native", "grpc-js"])("over %s", (transport) => {
  let server: KuraServer;
  let client: Client;
  let usesOfEntries = 0;

  beforeAll(async () => {
    const engine = new MemoryEngine();
    await engine.put(casKey(present().digest), BYTES);
    await new EntryActionCache(engine).put("main", present().digest, Buffer.alloc(0));
    const openEngine = async (): Promise<Engine> => watchedEngine(engine, () => usesOfEntries++);
    server = await startServer(testConfig(transport), { logger: pino({ level: "silent" }), openEngine });
    client = new Client(server.endpoint, credentials.createInsecure());
  });
  afterAll(async () => {
    client.close();
    await server.close(0);
  });

  /** Any kind of call looks like this to the server. Ends with the first response at the latest. */
  function call(rpc: MethodDefinition<object, object>, request: object, authorization?: string): Promise<Outcome> {
    const metadata = new Metadata();
    if (authorization !== undefined) metadata.set("authorization", authorization);
    const stream = client.makeBidiStreamRequest(rpc.path, rpc.requestSerialize, rpc.responseDeserialize, metadata);
    return new Promise((resolve) => {
      stream.on("data", () => {
        resolve({ code: status.OK, details: "" });
        stream.cancel();
      });
      stream.on("error", () => {});
      stream.on("status", ({ code, details }: Outcome) => resolve({ code, details }));
      stream.end(request);
    });
  }

  describe.each(CALLERS)("$name", ({ role, roleElsewhere, authorization }) => {
    /** What this caller gets to hear where it takes `needed` and it has `held`. */
    const expected = (held: Role | undefined, needed: Role): Answer => {
      if (roleIncludes(held ?? "none", needed)) return "answered";
      return role === undefined ? "unauthenticated" : "not allowed";
    };

    test.each(RPCS)("$path", async (rpc) => {
      const isThere = !NOT_THERE.some((prefix) => rpc.path.startsWith(prefix));
      const needed = LEAST_ROLE[rpc.path];
      expect(needed !== undefined).toBe(isThere);
      const requestOf = REQUESTS[rpc.path];
      // Where no instance is concerned, what counts is that the caller is known somewhere.
      const answer = expected(requestOf === undefined ? (roleElsewhere ?? role) : role, needed ?? "none");
      const usesBefore = usesOfEntries;
      const toAbsent = await call(rpc, requestOf?.(absent()) ?? {}, authorization());
      const toPresent = await call(rpc, requestOf?.(present()) ?? {}, authorization());
      expect([answerOf(toAbsent), answerOf(toPresent)]).toEqual([answer, answer]);
      expect(isThere || toAbsent.code === status.UNIMPLEMENTED).toBe(true);
      // A refusal says nothing of what is stored, which nobody has looked at, let alone written to.
      const isSilent = toAbsent.details === toPresent.details && usesOfEntries === usesBefore;
      expect(answer === "answered" || isSilent).toBe(true);
    });

    test.each(Object.keys(LEAST_ROLE).filter((key) => !key.startsWith("/")))("%s", async (route) => {
      const held = OF_THE_PROCESS.includes(route) ? (roleElsewhere ?? role) : role;
      const answer = expected(held, LEAST_ROLE[route]!);
      const usesBefore = usesOfEntries;
      const toAbsent = await request(route, absent(), authorization());
      const toPresent = await request(route, present(), authorization());
      expect([toAbsent.answer, toPresent.answer]).toEqual([answer, answer]);
      expect(/Basic .*Bearer /.test(toAbsent.challenge)).toBe(answer === "unauthenticated");
      const isSilent = toAbsent.body === toPresent.body && usesOfEntries === usesBefore;
      expect(answer === "answered" || isSilent).toBe(true);
    });
  });

  test("the table has every HTTP route there is", () => {
    const routes = new Set([
      ...routeSpy.mock.calls.map(([method, path]) => `${method} ${path}`),
      ...endingSpy.mock.calls.map(([method, ending]) => `${method} /main${ending}`),
    ]);
    expect([...routes].toSorted()).toEqual(
      Object.keys(LEAST_ROLE)
        .filter((key) => !key.startsWith("/"))
        .toSorted(),
    );
  });

  async function request(route: string, { digest, bytes }: Asked, authorization?: string) {
    const [method = "", path = ""] = route.split(" ");
    const url = path.replace(/:directory\([^)]*\)/, "ac").replace(/(?::(?:hash|key|name|id)|\*)$/, digest.hash);
    const response = await fetch(`http://${server.endpoint}${url}`, {
      method,
      headers: authorization === undefined ? {} : { authorization },
      body: method === "PUT" || method === "POST" ? Buffer.from(bytes) : null,
    });
    return {
      answer: HTTP_ANSWERS[response.status] ?? ("answered" as const),
      challenge: response.headers.get("www-authenticate") ?? "",
      body: await response.text(),
    };
  }
});

function answerOf({ code }: Outcome): Answer {
  if (code === status.UNAUTHENTICATED) return "unauthenticated";
  return code === status.PERMISSION_DENIED ? "not allowed" : "answered";
}
