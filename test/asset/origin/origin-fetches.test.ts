import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { describe, expect, onTestFinished, test } from "vitest";
import { AddressGuard } from "../../../src/asset/origin/address-guard.ts";
import {
  type FetchedContent,
  OriginFetches,
  type OriginFetchesOptions,
  type OriginSpec,
} from "../../../src/asset/origin/origin-fetches.ts";
import { parseIntegrity } from "../../../src/asset/subresource-integrity.ts";
import { DIGEST_FUNCTIONS, type DigestFunctionName } from "../../../src/cache/digest.ts";
import { EmptyBlobStore } from "../../../src/cache/empty-blob-store.ts";
import { EntryBlobStore } from "../../../src/cache/entry-blob-store.ts";
import { RecipeStore } from "../../../src/cache/chunking/recipe-store.ts";
import { SplicedBlobStore } from "../../../src/cache/spliced-blob-store.ts";
import type { StagedEntry } from "../../../src/cache/entry-store.ts";
import { nextTurn } from "../../../src/cache/turns.ts";
import { systemClock } from "../../../src/clock.ts";
import { parseCidr } from "../../../src/cidr.ts";
import { expectCode, expectSameBytes } from "../../contract/entry-store-contract.ts";
import { digestOf } from "../../support/cas-content.ts";
import { LocalOrigin } from "../../support/local-origin.ts";
import { ManualTimers } from "../../support/manual-timers.ts";
import { MemoryEntryStore } from "../../support/memory-entry-store.ts";

const NEVER = new AbortController().signal;
const CONTENT = Buffer.from("content of an origin");
const BYTES_MAX = 1_000_000;

interface Fixture {
  readonly origin: LocalOrigin;
  readonly entries: MemoryEntryStore;
  readonly blobs: EmptyBlobStore;
  readonly origins: OriginFetches;
  readonly fetched: FetchedContent[];
  readonly spec: (url: URL, fields?: Partial<OriginSpec>) => OriginSpec;
  readonly fetch: (url: URL, fields?: Partial<OriginSpec>, signal?: AbortSignal) => Promise<FetchedContent>;
  readonly stored: (content: FetchedContent) => Promise<Buffer>;
}

async function fixture(
  options: Partial<OriginFetchesOptions> = {},
  entries = new MemoryEntryStore(),
): Promise<Fixture> {
  const origin = await LocalOrigin.start();
  const blobs = new EmptyBlobStore(new SplicedBlobStore(new EntryBlobStore(entries), new RecipeStore(entries)));
  const origins = new OriginFetches({
    entries,
    // The one address of the origin, so that the rest of loopback stands for what is private.
    guard: new AddressGuard([parseCidr("127.0.0.1/32")!]),
    bytesMax: BYTES_MAX,
    clock: systemClock,
    timeoutMs: 60_000,
    backoffMs: 0,
    ...options,
  });
  onTestFinished(async () => {
    await origins[Symbol.asyncDispose]();
    await origin[Symbol.asyncDispose]();
    // Whatever happened, nothing stays staged or open.
    expect([entries.openStaged, entries.openContents, entries.stagedBytes]).toEqual([0, 0, 0]);
  });
  const fetched: FetchedContent[] = [];
  const spec = (url: URL, fields: Partial<OriginSpec> = {}): OriginSpec => ({
    name: url.href,
    url,
    headers: {},
    integrity: undefined,
    fn: "sha256",
    blobs,
    onFetched: async (content) => void fetched.push(content),
    ...fields,
  });
  return {
    origin,
    entries,
    blobs,
    origins,
    fetched,
    spec,
    fetch: (url, fields, signal = NEVER) => origins.fetch(spec(url, fields), 0, signal),
    stored: async ({ digest }) => Buffer.from(await (await blobs.get(digest))!.bytes()),
  };
}

function sri(content: Uint8Array, algorithm = "sha256") {
  return { integrity: parseIntegrity(`${algorithm}-${createHash(algorithm).update(content).digest("base64")}`) };
}

/** A route that sends part of the content and leaves the rest to the test. */
function heldBack(): { route: (response: ServerResponse) => void; response: Promise<ServerResponse> } {
  const { promise, resolve } = Promise.withResolvers<ServerResponse>();
  const route = (response: ServerResponse): void => {
    response.writeHead(200);
    response.write(CONTENT.subarray(0, 5), () => resolve(response));
  };
  return { route, response: promise };
}

function failure(reason: string, message: RegExp = /./) {
  return { reason, message: expect.stringMatching(message) as unknown };
}

describe("content of an origin", () => {
  test.each([0, 1, 64 * 1024 + 1, 700_000])(
    "of %i bytes is in the CAS when the fetch is answered",
    async (sizeBytes) => {
      const { origin, fetch, stored, fetched } = await fixture();
      const bytes = randomBytes(sizeBytes);
      const withLength = await fetch(origin.serve("/length", bytes));
      expect(withLength.digest).toEqual(digestOf(bytes));
      expectSameBytes(await stored(withLength), bytes);
      const chunked = await fetch(origin.on("/chunked", (response) => response.writeHead(200).end(bytes)));
      expect(chunked.digest).toEqual(digestOf(bytes));
      expect(fetched.map(({ digest }) => digest)).toEqual([digestOf(bytes), digestOf(bytes)]);
    },
  );

  test.each(Object.keys(DIGEST_FUNCTIONS) as DigestFunctionName[])(
    "is filed under its %s digest, with and without its size told first",
    async (fn) => {
      const { origin, fetch, stored } = await fixture();
      const chunked = await fetch(
        origin.on("/chunked", (response) => response.writeHead(200).end(CONTENT)),
        { fn },
      );
      expect(chunked.digest).toEqual(digestOf(CONTENT, fn));
      expect(await stored(chunked)).toEqual(CONTENT);
      const other = randomBytes(3000);
      const withLength = await fetch(origin.serve("/length", other), { fn });
      expect(withLength.digest).toEqual(digestOf(other, fn));
    },
  );

  test.each(["sha256", "sha384", "sha512"])("that has the %s hash asked for is taken", async (algorithm) => {
    const { origin, fetch, stored } = await fixture();
    const content = await fetch(origin.serve("/a", CONTENT), sri(CONTENT, algorithm));
    expect(await stored(content)).toEqual(CONTENT);
  });

  test.each(["sha256", "sha512"])("that has another %s hash is not, and is not asked for again", async (algorithm) => {
    const { origin, blobs, fetch, fetched } = await fixture();
    const other = sri(Buffer.from("other"), algorithm);
    const urls = [
      origin.serve("/length", CONTENT),
      origin.on("/chunked", (response) => response.writeHead(200).end(CONTENT)),
    ];
    for (const url of urls) await expect(fetch(url, other)).rejects.toMatchObject(failure("aborted", /checksum.sri/));
    expect(origin.requestCount).toBe(2);
    expect(blobs.peek(digestOf(CONTENT))).toBe(false);
    expect(fetched).toEqual([]);
  });

  test("is written once where its digest is known before it comes, and twice where it is not", async () => {
    const { origin, entries, fetch } = await fixture();
    await fetch(origin.serve("/known", CONTENT), sri(CONTENT));
    expect(entries.stagedEver).toBe(1);
    const other = Buffer.from("something else");
    await fetch(origin.serve("/unknown", other));
    expect(entries.stagedEver).toBe(3);
  });

  test("is not read where the blob is there already", async () => {
    const { origin, entries, blobs, fetch } = await fixture();
    await blobs.put(digestOf(CONTENT), CONTENT);
    const stagedBefore = entries.stagedEver;
    const url = origin.on("/never-ends", (response) => {
      response.writeHead(200, { "content-length": CONTENT.length }).flushHeaders();
    });
    expect((await fetch(url, sri(CONTENT))).digest).toEqual(digestOf(CONTENT));
    expect(entries.stagedEver).toBe(stagedBefore);
  });

  test("over the limit is refused, from its length or at the first byte past it", async () => {
    const { origin, entries, fetch } = await fixture();
    const tooMany = Buffer.alloc(BYTES_MAX + 1);
    const known = fetch(origin.serve("/length", tooMany));
    await expect(known).rejects.toMatchObject(failure("resource_exhausted", /at most 1000000 bytes/));
    expect(entries.stagedEver).toBe(0);
    const chunked = origin.on("/chunked", (response) => response.writeHead(200).end(tooMany));
    await expect(fetch(chunked)).rejects.toMatchObject(failure("resource_exhausted"));
  });

  test("that was compressed on the way is refused", async () => {
    const { origin, fetch } = await fixture();
    const url = origin.on("/a", (response) => response.writeHead(200, { "content-encoding": "gzip" }).end("x"));
    await expect(fetch(url)).rejects.toMatchObject(failure("aborted", /gzip/));
    expect(origin.requests[0]?.headers["accept-encoding"]).toBe("identity");
  });
});

describe("an origin that fails", () => {
  test.each([
    [404, "not_found"],
    [410, "not_found"],
    [401, "permission_denied"],
    [403, "permission_denied"],
    [400, "aborted"],
    [206, "aborted"],
    [304, "aborted"],
  ])("with status %i is asked once: %s", async (status, reason) => {
    const { origin, fetch } = await fixture();
    const url = origin.on("/a", (response) => response.writeHead(status).end());
    await expect(fetch(url)).rejects.toMatchObject(failure(reason, new RegExp(`status ${status}`)));
    expect(origin.requestCount).toBe(1);
  });

  test.each([408, 429, 500, 502, 503, 504])("with status %i is asked again", async (status) => {
    const { origin, fetch, stored } = await fixture();
    const url = origin.on(
      "/a",
      (response) => response.writeHead(status).end(),
      (response) => response.end(CONTENT),
    );
    expect(await stored(await fetch(url))).toEqual(CONTENT);
    expect(origin.requestCount).toBe(2);
  });

  test("every time is asked so often and no more", async () => {
    const { origin, fetch } = await fixture({ attemptsMax: 3 });
    const url = origin.on("/a", (response) => response.writeHead(503).end());
    await expect(fetch(url)).rejects.toMatchObject(failure("unavailable", /status 503/));
    expect(origin.requestCount).toBe(3);
  });

  test("amid the content is asked again, and what it had sent is dropped", async () => {
    const { origin, fetch, stored } = await fixture();
    const url = origin.on(
      "/a",
      (response) => {
        response.writeHead(200, { "content-length": CONTENT.length });
        response.write(CONTENT.subarray(0, 5), () => response.destroy());
      },
      (response) => response.end(CONTENT),
    );
    expect(await stored(await fetch(url))).toEqual(CONTENT);
  });

  test("to send a byte for too long is asked again", async () => {
    const { origin, fetch, stored } = await fixture({ idleMsMax: 20 });
    const url = origin.on("/a", heldBack().route, (response) => response.end(CONTENT));
    expect(await stored(await fetch(url))).toEqual(CONTENT);
  });

  test("to answer the connection is unavailable", async () => {
    const { origin, fetch } = await fixture({ attemptsMax: 2 });
    const url = origin.on("/a", (response) => response.destroy());
    await expect(fetch(url)).rejects.toMatchObject(failure("unavailable", /ECONNRESET/));
    expect(origin.requestCount).toBe(2);
  });

  test("to show a certificate that is trusted is not asked anything", async () => {
    const { fetch } = await fixture();
    await using secure = await LocalOrigin.startTls();
    const url = secure.serve("/a", CONTENT);
    url.protocol = "https:";
    await expect(fetch(url)).rejects.toMatchObject(failure("aborted", /CERT/));
    expect(secure.requestCount).toBe(0);
  });

  test("is given the time that it asks for, within bounds, and twice as long each time else", async () => {
    const timers = new ManualTimers();
    const { origin, fetch } = await fixture({ timers, backoffMs: 100 });
    const asked: string[] = [];
    const url = origin.on(
      "/a",
      (response) => response.writeHead(503).end(),
      (response) => response.writeHead(503, { "retry-after": "3" }).end(),
      (response) => response.writeHead(503, { "retry-after": "86400" }).end(),
      (response) => response.end(CONTENT),
    );
    const landed = fetch(url).then(() => asked.push("landed"));
    for (const [request, waitMs] of [100, 3000, 10_000].entries()) {
      // The timer of the whole fetch, and that of the wait.
      while (timers.running < 2) await nextTurn();
      timers.advance(waitMs - 1);
      await nextTurn();
      expect(origin.requestCount).toBe(request + 1);
      timers.advance(1);
      while (origin.requestCount === request + 1) await nextTurn();
    }
    await landed;
    expect(asked).toEqual(["landed"]);
  });
});

describe("a redirect", () => {
  test("is followed, relative or absolute, a bounded number of times", async () => {
    const { origin, fetch, stored } = await fixture({ redirectsMax: 3 });
    origin.serve("/end", CONTENT);
    origin.redirect("/2", origin.url("/end").href);
    origin.redirect("/1", "2");
    const url = origin.redirect("/0", "/1");
    expect(await stored(await fetch(url))).toEqual(CONTENT);
    const loop = origin.redirect("/loop", "/loop");
    await expect(fetch(loop)).rejects.toMatchObject(failure("aborted", /at most 3 redirects/));
    expect(origin.requests.filter(({ url: path }) => path === "/loop").length).toBe(4);
  });

  test.each([
    "http://127.0.0.2/",
    "http://10.0.0.1/",
    "http://[::1]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://0/",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "http://",
  ])("to %s is refused", async (location) => {
    const { origin, fetch } = await fixture();
    const url = origin.redirect("/a", location);
    await expect(fetch(url)).rejects.toMatchObject(failure("permission_denied"));
  });

  test("to a name with a private address is refused by the address that would be connected to", async () => {
    const resolved: string[] = [];
    const guard = new AddressGuard([parseCidr("127.0.0.1/32")!], (hostname, _options, callback) => {
      resolved.push(hostname);
      callback(null, [{ address: "127.0.0.2", family: 4 }]);
    });
    const { origin, fetch } = await fixture({ guard });
    const url = origin.redirect("/a", `http://rebound.example:${origin.url("/").port}/`);
    await expect(fetch(url)).rejects.toMatchObject(failure("permission_denied", /rebound.example/));
    expect(resolved).toEqual(["rebound.example"]);
  });

  test("to another origin is not told the headers that were for the first", async () => {
    const { origin, fetch } = await fixture();
    await using elsewhere = await LocalOrigin.start();
    origin.redirect("/there", elsewhere.serve("/a", CONTENT).href);
    const url = origin.redirect("/here", "/there");
    await fetch(url, { headers: { authorization: "Bearer secret" } });
    expect(origin.requests.map(({ headers }) => headers.authorization)).toEqual(["Bearer secret", "Bearer secret"]);
    expect(elsewhere.requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
  });
});

test("a private address is refused before anything is sent to it", async () => {
  const { origin, fetch } = await fixture({ guard: new AddressGuard([]) });
  await expect(fetch(origin.serve("/a", CONTENT))).rejects.toMatchObject(failure("permission_denied"));
  expect(origin.requestCount).toBe(0);
});

describe("a download", () => {
  test("is one for all who want the same at the same time", async () => {
    const { origin, fetch, fetched } = await fixture();
    const { route, response } = heldBack();
    const url = origin.on("/a", route);
    const all = [fetch(url), fetch(url), fetch(url)];
    (await response).end(CONTENT.subarray(5));
    for (const { digest } of await Promise.all(all)) expect(digest).toEqual(digestOf(CONTENT));
    expect(origin.requestCount).toBe(1);
    expect(fetched.length).toBe(1);
  });

  test("that was begun too early is not joined", async () => {
    const { origin, origins, spec } = await fixture();
    const { route, response } = heldBack();
    const url = origin.on("/a", route, (second) => second.end("newer"));
    const early = origins.fetch(spec(url), 0, NEVER);
    await response;
    const later = await origins.fetch(spec(url), systemClock.wallMs() + 1, NEVER);
    expect(later.digest).toEqual(digestOf(Buffer.from("newer")));
    (await response).end(CONTENT.subarray(5));
    expect((await early).digest).toEqual(digestOf(CONTENT));
  });

  test("goes on when the client leaves, for whoever comes next", async () => {
    const { origin, fetch, fetched } = await fixture();
    const { route, response } = heldBack();
    const url = origin.on("/a", route);
    const leaving = new AbortController();
    const left = fetch(url, {}, leaving.signal);
    const sending = await response;
    leaving.abort(new Error("the client has left"));
    await expect(left).rejects.toThrow("the client has left");
    const next = fetch(url);
    sending.end(CONTENT.subarray(5));
    expect((await next).digest).toEqual(digestOf(CONTENT));
    expect(fetched.length).toBe(1);
    expect(origin.requestCount).toBe(1);
  });

  test("ends when its time is up, whatever it waits for", async () => {
    const timers = new ManualTimers();
    const { origin, fetch } = await fixture({ timers, timeoutMs: 500, backoffMs: 5000 });
    const { route, response } = heldBack();
    const stalled = fetch(origin.on("/stalls", route));
    await response;
    timers.advance(500);
    await expect(stalled).rejects.toMatchObject(failure("deadline_exceeded", /500 ms/));
    const waiting = fetch(origin.on("/fails", (failing) => failing.writeHead(503).end()));
    while (timers.running < 2) await nextTurn();
    timers.advance(500);
    await expect(waiting).rejects.toMatchObject(failure("deadline_exceeded"));
    expect(timers.running).toBe(0);
  });

  test("past so many at the same time is refused with a time to come again", async () => {
    const { origin, fetch } = await fixture({ fetchesMax: 1 });
    const { route, response } = heldBack();
    const first = fetch(origin.on("/a", route));
    const sending = await response;
    await expectCode("resource_exhausted", async () => fetch(origin.serve("/b", CONTENT)));
    sending.end(CONTENT.subarray(5));
    await first;
    await nextTurn();
    expect((await fetch(origin.url("/b"))).digest).toEqual(digestOf(CONTENT));
  });

  test("ends when the server closes, and none is begun after it", async () => {
    const { origin, origins, fetch } = await fixture();
    const { route, response } = heldBack();
    const cut = fetch(origin.on("/a", route));
    await response;
    const expected = expectCode("unavailable", () => cut);
    await origins[Symbol.asyncDispose]();
    await expected;
    await expectCode("unavailable", async () => fetch(origin.serve("/b", CONTENT)));
  });

  test("whose result cannot be filed fails", async () => {
    const { origin, fetch } = await fixture();
    const onFetched = (): Promise<void> => Promise.reject(new Error("no room"));
    await expect(fetch(origin.serve("/a", CONTENT), { onFetched })).rejects.toThrow("no room");
  });
});

/** Uploads begin when the test lets them. */
class GatedEntryStore extends MemoryEntryStore {
  readonly asked = Promise.withResolvers<void>();
  readonly gate = Promise.withResolvers<void>();

  override async stage(...call: Parameters<MemoryEntryStore["stage"]>): Promise<StagedEntry> {
    this.asked.resolve();
    await this.gate.promise;
    return super.stage(...call);
  }
}

test("a response that is cut off while nobody reads it is a failure as any other", async () => {
  const entries = new GatedEntryStore();
  const { origin, fetch } = await fixture({ attemptsMax: 1 }, entries);
  const { route, response } = heldBack();
  const cut = fetch(origin.on("/a", route));
  const sending = await response;
  await entries.asked.promise;
  const closed = once(sending, "close");
  sending.destroy();
  await closed;
  entries.gate.resolve();
  await expect(cut).rejects.toMatchObject(failure("unavailable"));
});
