import { once } from "node:events";
import { text } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import { nextTurn } from "../../src/cache/turns.ts";
import { digestOf } from "../support/cache-client.ts";
import { HttpFixture } from "../support/http-fixture.ts";

const BLOB = Buffer.alloc(200_000, "a blob over http ");
const { hash: HASH } = digestOf(BLOB);
const KEY = "0123456789abcdef0123456789abcdef";
/** For what does happen, however busy the machine. */
const WAIT = { timeout: 20_000 };
const CLOSE = "connection: close\r\n\r\n";

/** The head of a PUT to /cas, up to where further headers go. */
function putHead(hash = HASH): string {
  return `PUT /cas/${hash} HTTP/1.1\r\nhost: a\r\n`;
}

describe("Requests that are not as they should be", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start("--max-blob-size", "1MiB");
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  const expectNothingKept = async (): Promise<void> => {
    await vi.waitFor(() => expect([fixture.engine.openStaged, fixture.engine.stagedBytes]).toEqual([0, 0]), WAIT);
    expect((await fixture.fetch(`/cas/${HASH}`)).status).toBe(404);
  };

  it.each([0, 1, 100_000])("nothing stays of a body that is cut off after %i bytes", async (sentBytes) => {
    const socket = await fixture.dial();
    socket.write(`${putHead()}content-length: ${BLOB.length}\r\n\r\n`);
    socket.write(BLOB.subarray(0, sentBytes));
    await vi.waitFor(() => expect(fixture.engine.openStaged).toBe(1), WAIT);
    socket.destroy();
    await expectNothingKept();
    expect(await fixture.metric('kura_http_requests_total{protocol="bazel",method="PUT",status="499"}')).toBe(1);
  });

  it("nothing stays of a chunked body that is cut off, also at the end of a chunk", async () => {
    const socket = await fixture.dial();
    socket.write(`${putHead()}transfer-encoding: chunked\r\n\r\n${BLOB.length.toString(16)}\r\n`);
    socket.write(BLOB);
    socket.write("\r\n");
    await vi.waitFor(() => expect(fixture.engine.stagedBytes).toBe(BLOB.length), WAIT);
    socket.end();
    await expectNothingKept();
  });

  it.each([
    ["a size that is no number", "zz\r\n"],
    ["a negative size", "-5\r\nhello\r\n0\r\n\r\n"],
    ["a size past 64 bits", "fffffffffffffffff\r\n"],
    ["a chunk that is longer than it says", "3\r\nhello\r\n0\r\n\r\n"],
    ["a bare line feed", "5\nhello\n0\n\n"],
    ["a bare carriage return in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"],
  ])("bad chunking is refused and ends the connection: %s", async (_what, body) => {
    const answer = await fixture.exchange(`${putHead()}transfer-encoding: chunked\r\n\r\n${body}`);
    expect(answer).toMatch(/^HTTP\/1\.1 400 .*\r\nconnection: close\r\n/is);
    await expectNothingKept();
  });

  // Each of them is a request that another server might take for a shorter one, followed by the smuggled one.
  it.each([
    ["a length and chunks", "content-length: 5\r\ntransfer-encoding: chunked\r\n"],
    ["chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"],
    ["two lengths", "content-length: 0\r\ncontent-length: 5\r\n"],
    ["two lengths in one header", "content-length: 0, 5\r\n"],
    ["a signed length", "content-length: +5\r\n"],
    ["a length in hexadecimal", "content-length: 0x5\r\n"],
    ["an encoding that ends in another one", "transfer-encoding: chunked, identity\r\n"],
    ["an encoding that is none", "transfer-encoding: xchunked\r\n"],
    ["a space before the colon", "content-length : 5\r\n"],
    ["a folded header", "x: y\r\n transfer-encoding: chunked\r\ncontent-length: +0\r\n"],
    ["a header that ends in a line feed", "x: y\ntransfer-encoding: chunked\r\n"],
    ["a NUL in a header", "x: \0\r\n"],
  ])("what could be two things at once is refused and ends the connection: %s", async (_what, headers) => {
    const smuggled = `0\r\n\r\nPUT /gradle/${KEY} HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx`;
    const answer = await fixture.exchange(`${putHead()}${headers}\r\n${smuggled}`);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect((await fixture.fetch(`/gradle/${KEY}`)).status).toBe(404);
  });

  it.each([
    ["no host", `GET /cas/${HASH} HTTP/1.1\r\n${CLOSE}`, 400],
    ["no version, as in HTTP/0.9", `GET /cas/${HASH}\r\n\r\n`, 404],
    ["a version from the future", `GET /cas/${HASH} HTTP/9.9\r\nhost: a\r\n${CLOSE}`, 400],
    ["an unknown word as a method", `FROB /cas/${HASH} HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 400],
    ["a space in the path", `GET /cas/ ${HASH} HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 400],
    ["a path without a slash", `GET cas HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 400],
    ["too many headers", `GET / HTTP/1.1\r\nhost: a\r\nx: ${"y".repeat(20_000)}\r\n${CLOSE}`, 431],
    ["a path that is too long", `GET /${"y".repeat(20_000)} HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 431],
    ["another expectation", `${putHead()}expect: more\r\ncontent-length: 0\r\n${CLOSE}`, 417],
    ["dots that lead elsewhere", `GET /cas/../gradle/${KEY} HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 404],
    ["encoded dots and slashes", `GET /gradle/%2e%2e%2f${KEY} HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 400],
    ["an encoding cut short", `GET /gradle/%2 HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 400],
    ["a path that is no UTF-8", `GET /gradle/%ff%fe HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 400],
    ["the whole server", `OPTIONS * HTTP/1.1\r\nhost: a\r\n${CLOSE}`, 404],
  ])("%s is answered with its status, and that is all", async (_what, request, status) => {
    expect(await fixture.exchange(request)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  });

  it("a tunnel is not made", async () => {
    expect(await fixture.exchange("CONNECT example.org:443 HTTP/1.1\r\nhost: example.org\r\n\r\n")).toBe("");
  });

  it("a URL with scheme and host is as good as its path, and an upgrade that is not offered is passed over", async () => {
    const head = `GET ${fixture.origin}/healthz HTTP/1.1\r\nhost: a\r\n`;
    expect(await fixture.exchange(`${head}${CLOSE}`)).toMatch(/^HTTP\/1\.1 200 /);
    const upgrade = "GET /healthz HTTP/1.1\r\nhost: a\r\nupgrade: h2c\r\nconnection: upgrade, close\r\n\r\n";
    expect(await fixture.exchange(upgrade)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it("pipelined requests are answered in their order, whatever becomes of each", async () => {
    const get = (path: string): string => `GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`;
    const put = `${putHead()}content-length: ${BLOB.length}\r\n\r\n`;
    const refused = `PUT /cas/short HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello`;
    const last = `HEAD /cas/${HASH} HTTP/1.1\r\nhost: a\r\n${CLOSE}`;
    const answer = await fixture.exchange(get("/healthz"), put, BLOB, refused, get("/nowhere"), last);
    const statuses = [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status));
    expect(statuses).toEqual([200, 200, 400, 404, 200]);
  });

  it("a body is sent once the client is told to go on", async () => {
    const socket = await fixture.dial();
    socket.write(`${putHead()}expect: 100-continue\r\ncontent-length: ${BLOB.length}\r\n${CLOSE}`);
    const [interim] = (await once(socket, "data")) as [Buffer];
    expect(interim.toString()).toBe("HTTP/1.1 100 Continue\r\n\r\n");
    socket.write(BLOB);
    expect(await text(socket)).toMatch(/^HTTP\/1\.1 200 /);
  });

  it.each([
    [400, "/cas/short", "5"],
    [413, `/cas/${HASH}`, "9999999"],
    [404, "/nowhere", "5"],
    [405, "/healthz", "5"],
  ])("who asks first is refused with %i before the body, and the connection ends", async (status, path, length) => {
    const head = `PUT ${path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: ${length}\r\n\r\n`;
    const answer = await fixture.exchange(head);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*connection: close`, "i"));
    expect(fixture.engine.stagedEver).toBe(0);
  });

  it("a body over the limit is refused with 413, by its length or where it passes it, and the connection goes on", async () => {
    const large = Buffer.alloc(1024 * 1024 + 1);
    const head = `PUT /gradle/${KEY} HTTP/1.1\r\nhost: a\r\n`;
    const chunk = [`${head}transfer-encoding: chunked\r\n\r\n${large.length.toString(16)}\r\n`, large, "\r\n0\r\n\r\n"];
    const whole = [`${head}content-length: ${large.length}\r\n\r\n`, large];
    const answer = await fixture.exchange(...chunk, ...whole, `GET /healthz HTTP/1.1\r\nhost: a\r\n${CLOSE}`);
    const statuses = [...answer.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status));
    expect(statuses).toEqual([413, 413, 200]);
    await expectNothingKept();
  });

  it("a full store is 507, overload 429 with the time to wait", async () => {
    const refuseWith = (error: CacheError): void => {
      fixture.engine.stage = () => Promise.reject(error);
    };
    refuseWith(new CacheError("storage_full", "the disk is full"));
    expect(await fixture.put(`/cas/${HASH}`, BLOB)).toBe(507);
    refuseWith(new CacheError("resource_exhausted", "staging is full", { retryAfterMs: 2500 }));
    const overload = await fixture.fetch(`/cas/${HASH}`, { method: "PUT", body: BLOB });
    expect([overload.status, overload.headers.get("retry-after")]).toEqual([429, "3"]);
  });

  it("an upload whose last bytes cannot be staged after all is not stored without them", async () => {
    const stage = fixture.engine.stage.bind(fixture.engine);
    fixture.engine.stage = async (...args) => {
      const staged = await stage(...args);
      const refusal = new CacheError("storage_full", "the disk is full");
      staged.write = async () => {
        // By then the request has ended.
        await nextTurn();
        throw refusal;
      };
      return staged;
    };
    expect(await fixture.put(`/gradle/${KEY}`, "all in one chunk")).toBe(507);
    expect((await fixture.fetch(`/gradle/${KEY}`)).status).toBe(404);
    await expectNothingKept();
  });

  it("a client that stops in the middle of a body is told so, and nothing of it stays", async () => {
    await using impatient = await HttpFixture.start("--upload-idle-timeout", "10ms");
    const answer = await impatient.exchange(`${putHead()}content-length: ${BLOB.length}\r\n\r\nbegins`);
    expect(answer).toMatch(/^HTTP\/1\.1 408 [\s\S]*connection: close/i);
    expect([impatient.engine.openStaged, impatient.engine.stagedBytes]).toEqual([0, 0]);
  });

  it("a client that goes while it reads leaves nothing open", async () => {
    const large = Buffer.alloc(50_000_000, 1);
    await using roomy = await HttpFixture.start();
    await roomy.put(`/gradle/${KEY}`, large);
    const socket = await roomy.dial();
    socket.write(`GET /gradle/${KEY} HTTP/1.1\r\nhost: a\r\n\r\n`);
    await once(socket, "data");
    expect(roomy.engine.openContents).toBe(1);
    socket.destroy();
    await vi.waitFor(() => expect(roomy.engine.openContents).toBe(0), WAIT);
  });
});
