import { randomBytes } from "node:crypto";
import { zstdCompressSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DIGEST_FUNCTIONS } from "../../../src/cache/digest.ts";
import { casKey } from "../../../src/cache/entry-key.ts";
import { actionResultCodec } from "../../../src/grpc/proto-definitions.ts";
import { actionResult, outputFile } from "../../support/action-results.ts";
import { CacheClient, digestOf } from "../../support/cache-client.ts";
import { contentOf } from "../../support/cas-content.ts";
import { HttpFixture } from "../../support/http-fixture.ts";

const BLOB = Buffer.alloc(700_000, "bazel over http ");
const { hash: HASH } = digestOf(BLOB);
const ACTION = digestOf(Buffer.from("an action"));
const EMPTY = DIGEST_FUNCTIONS.sha256.emptyHash;
/** As ccache begins its values. */
const OPAQUE = Buffer.from("cCrS\x01\x00 no action result", "latin1");

/** Without a length, the body is chunked. */
function chunked(...chunks: Uint8Array[]): RequestInit {
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  return { method: "PUT", body, duplex: "half" } as RequestInit;
}

describe("Bazel's HTTP cache", () => {
  let fixture: HttpFixture;
  let client: CacheClient;

  const start = async (...args: string[]): Promise<void> => {
    fixture = await HttpFixture.start(...args);
    client = new CacheClient(fixture.server.endpoint);
  };
  const statusOf = async (path: string, init?: RequestInit): Promise<number> =>
    (await fixture.fetch(path, init)).status;

  beforeEach(() => start());
  afterEach(async () => {
    client[Symbol.dispose]();
    await fixture[Symbol.asyncDispose]();
  });

  describe("/cas", () => {
    it("stores and reads a blob, which gRPC has too", async () => {
      expect(await statusOf(`/cas/${HASH}`)).toBe(404);
      expect(await statusOf(`/cas/${HASH}`, { method: "HEAD" })).toBe(404);
      expect(await fixture.put(`/cas/${HASH}`, BLOB)).toBe(200);
      const hit = await fixture.fetch(`/cas/${HASH}`);
      expect([hit.status, hit.body.equals(BLOB)]).toEqual([200, true]);
      const head = await fixture.fetch(`/cas/${HASH}`, { method: "HEAD" });
      expect([head.status, head.headers.get("content-length"), head.body.length]).toEqual([200, `${BLOB.length}`, 0]);
      expect((await client.read(digestOf(BLOB))).equals(BLOB)).toBe(true);
      expect(fixture.engine.openContents).toBe(0);
    });

    it("serves what came by gRPC, under any instance", async () => {
      await client.write(BLOB);
      for (const instance of ["", "/main", "/a/b/c", "/gradle", "/ccache", "/a%2Fb"]) {
        expect((await fixture.fetch(`${instance}/cas/${HASH}`)).body.equals(BLOB)).toBe(true);
      }
    });

    it("serves a blob that is there as its chunks only", async () => {
      const chunks = [BLOB.subarray(0, 300_000), BLOB.subarray(300_000)];
      for (const chunk of chunks) await client.write(chunk);
      await client.spliceBlob(
        digestOf(BLOB),
        chunks.map((chunk) => digestOf(chunk)),
        0,
      );
      expect((await fixture.fetch(`/cas/${HASH}`)).body.equals(BLOB)).toBe(true);
      expect((await fixture.fetch(`/cas/${HASH}`, { method: "HEAD" })).headers.get("content-length")).toBe("700000");
      expect(await statusOf(`/cas/${HASH}`, { headers: { range: "bytes=299999-300000" } })).toBe(206);
    });

    it.each(["md5", "sha1", "sha256", "sha384", "sha512"] as const)("takes a hash of the length of %s", async (fn) => {
      const { digest, bytes } = contentOf(BLOB, fn);
      expect(await fixture.put(`/cas/${digest.hash}`, bytes)).toBe(200);
      expect((await fixture.fetch(`/cas/${digest.hash}`)).body.equals(bytes)).toBe(true);
      expect(await fixture.put(`/cas/${digest.hash.replaceAll(/./g, "0")}`, bytes)).toBe(400);
    });

    it("takes a chunked body, whose size is not known", async () => {
      expect(await statusOf(`/cas/${HASH}`, chunked(BLOB.subarray(0, 10), BLOB.subarray(10)))).toBe(200);
      expect((await client.read(digestOf(BLOB))).equals(BLOB)).toBe(true);
      expect(await statusOf(`/cas/${"0".repeat(64)}`, chunked(BLOB))).toBe(400);
      expect(await statusOf(`/cas/${"0".repeat(64)}`)).toBe(404);
    });

    it("takes a blob again that is there, and renews its lease", async () => {
      await client.write(BLOB);
      const { stagedEver } = fixture.engine;
      fixture.engine.renewed.length = 0;
      expect(await fixture.put(`/cas/${HASH}`, BLOB)).toBe(200);
      expect(await statusOf(`/cas/${HASH}`, chunked(BLOB))).toBe(200);
      expect([fixture.engine.stagedEver, fixture.engine.renewed.length]).toEqual([stagedEver, 2]);
    });

    it("has the empty blob from the start, and takes it with or without a length", async () => {
      const read = await fixture.fetch(`/cas/${EMPTY}`);
      expect([read.status, read.body.length]).toEqual([200, 0]);
      expect(await statusOf(`/cas/${EMPTY}`, { method: "HEAD" })).toBe(200);
      expect(await fixture.put(`/cas/${EMPTY}`, "")).toBe(200);
      const bare = await fixture.exchange(`PUT /cas/${EMPTY} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`);
      expect(bare).toMatch(/^HTTP\/1\.1 200 /);
      expect(await statusOf(`/cas/${EMPTY}`, chunked())).toBe(200);
      expect(await statusOf(`/cas/${EMPTY}`, chunked(BLOB))).toBe(400);
      expect(await fixture.put(`/cas/${EMPTY}`, BLOB)).toBe(400);
      expect(await fixture.put(`/cas/${HASH}`, "")).toBe(400);
      expect(fixture.engine.stagedEver).toBe(0);
    });

    describe("with zstd", () => {
      const ENCODED = zstdCompressSync(BLOB);
      const zstd = { "content-encoding": "zstd" };

      it.each([0, 1, 100, 700_000, 5_000_000])("takes %i bytes, and keeps what they decode to", async (sizeBytes) => {
        const bytes = randomBytes(sizeBytes);
        const { hash } = digestOf(bytes);
        const encoded = Buffer.concat([zstdCompressSync(bytes.subarray(0, 50)), zstdCompressSync(bytes.subarray(50))]);
        expect(await fixture.put(`/cas/${hash}`, encoded, zstd)).toBe(200);
        expect((await fixture.fetch(`/cas/${hash}`)).body.equals(bytes)).toBe(true);
        expect(await fixture.put(`/cas/${hash}`, encoded, zstd)).toBe(200);
        expect([fixture.engine.openStaged, fixture.engine.stagedBytes]).toEqual([0, 0]);
      });

      it.each([
        ["no zstd data", BLOB, 400],
        ["half of a frame", ENCODED.subarray(0, -10), 400],
        ["a frame and more", Buffer.concat([ENCODED, Buffer.from("x")]), 400],
        ["another blob", zstdCompressSync(BLOB.subarray(1)), 400],
        ["nothing at all", Buffer.alloc(0), 400],
        ["more than the largest blob", zstdCompressSync(Buffer.alloc(3_000_000)), 413],
      ])("refuses %s, and keeps nothing of it", async (_what, encoded, status) => {
        client[Symbol.dispose]();
        await fixture[Symbol.asyncDispose]();
        await start("--max-blob-size", "1MiB");
        expect(await fixture.put(`/cas/${HASH}`, encoded, zstd)).toBe(status);
        expect([fixture.engine.openStaged, fixture.engine.stagedBytes]).toEqual([0, 0]);
        expect(await statusOf(`/cas/${HASH}`)).toBe(404);
      });

      it.each([
        ["zstd", true],
        ["gzip, ZSTD;q=0.5", true],
        ["zstd;q=1,br", true],
        ["gzip", false],
        ["zstd;q=0", false],
        ["gzip, zstd;q=0.000, br", false],
        ["zstdx, xzstd", false],
      ])("gives what is stored so to who takes %s: %s", async (accepted, isGiven) => {
        const key = casKey(digestOf(BLOB));
        const staged = await fixture.engine.stage(key, { encoding: "zstd" });
        await staged.write(ENCODED);
        await staged.commit();
        const head = `GET /cas/${HASH} HTTP/1.1\r\nhost: a\r\naccept-encoding: ${accepted}\r\n`;
        const answer = await fixture.exchange(`${head}connection: close\r\n\r\n`);
        expect([/^vary: accept-encoding\r$/im.test(answer), /^content-encoding: zstd\r$/im.test(answer)]).toEqual([
          true,
          isGiven,
        ]);
        expect(/^content-length: 700000\r$/im.test(answer)).toBe(!isGiven);
        const decoded = await fixture.fetch(`/cas/${HASH}`, { headers: { "accept-encoding": accepted } });
        expect(decoded.body.equals(BLOB)).toBe(true);
        const part = { "accept-encoding": accepted, range: "bytes=5-9" };
        expect((await fixture.fetch(`/cas/${HASH}`, { headers: part })).body.equals(BLOB.subarray(5, 10))).toBe(true);
      });

      it("refuses other encodings, and every one of an action result", async () => {
        for (const encoding of ["gzip", "zstd, zstd", "x"]) {
          expect(await fixture.put(`/cas/${HASH}`, ENCODED, { "content-encoding": encoding })).toBe(400);
        }
        expect(await fixture.put(`/ac/${ACTION.hash}`, ENCODED, zstd)).toBe(400);
      });
    });

    it("refuses bytes of another hash, and keeps nothing of them", async () => {
      expect(await fixture.put(`/cas/${HASH}`, BLOB.subarray(1))).toBe(400);
      expect(await statusOf(`/cas/${HASH}`)).toBe(404);
      expect([fixture.engine.openStaged, fixture.engine.stagedBytes]).toEqual([0, 0]);
    });

    it.each([
      ["bytes=0-9", 206, "bytes 0-9/700000", 10],
      ["bytes=699999-", 206, "bytes 699999-699999/700000", 1],
      ["bytes=-5", 206, "bytes 699995-699999/700000", 5],
      ["bytes=-900000", 206, "bytes 0-699999/700000", 700_000],
      ["bytes=10-9999999", 206, "bytes 10-699999/700000", 699_990],
      ["bytes=700000-", 416, "bytes */700000", undefined],
      ["bytes=-0", 416, "bytes */700000", undefined],
      // What is not understood, or need not be given, is left out of account.
      ["bytes=9-0", 200, null, 700_000],
      ["bytes=0-1,5-6", 200, null, 700_000],
      ["lines=0-1", 200, null, 700_000],
      ["bytes=-", 200, null, 700_000],
    ])("answers the range %s with %i", async (range, status, contentRange, length) => {
      await client.write(BLOB);
      const answer = await fixture.fetch(`/cas/${HASH}`, { headers: { range } });
      expect([answer.status, answer.headers.get("content-range")]).toEqual([status, contentRange]);
      if (length === undefined) return;
      expect(answer.body.length).toBe(length);
      const offset = Number(/^bytes (\d+)/.exec(contentRange ?? "")?.[1] ?? 0);
      expect(answer.body.equals(BLOB.subarray(offset, offset + length))).toBe(true);
    });

    it("gives all of it to who wants a part of another version", async () => {
      await client.write(BLOB);
      expect(await statusOf(`/cas/${HASH}`, { headers: { range: "bytes=0-9", "if-range": '"a"' } })).toBe(200);
    });

    it.each(["short", HASH.toUpperCase(), `${HASH}0`, `${HASH.slice(1)}g`, "..%2f..%2fetc%2fpasswd", "%00"])(
      "refuses the hash %s",
      async (hash) => {
        expect([await statusOf(`/cas/${hash}`), await fixture.put(`/cas/${hash}`, BLOB)]).toEqual([400, 400]);
      },
    );

    it("refuses instance names that gRPC refuses, and knows no paths but its own", async () => {
      for (const path of [`/a/blobs/cas/${HASH}`, `/a//b/cas/${HASH}`, `/%zz/cas/${HASH}`, `/a%2F%2Fb/cas/${HASH}`]) {
        expect([path, await statusOf(path)]).toEqual([path, 400]);
      }
      for (const path of [`//cas/${HASH}`, `/cas/${HASH}/`, `/cas/${HASH}/x`, `/cas`, `/${HASH}`, `/xcas/${HASH}`]) {
        expect([path, await statusOf(path)]).toEqual([path, 404]);
      }
    });

    it("allows GET, HEAD and PUT, and says so", async () => {
      const answer = await fixture.fetch(`/main/cas/${HASH}`, { method: "DELETE" });
      expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD, PUT"]);
    });

    it("counts look-ups and bytes as gRPC does", async () => {
      await fixture.fetch(`/cas/${HASH}`);
      await fixture.put(`/cas/${HASH}`, BLOB);
      await fixture.fetch(`/cas/${HASH}`);
      await fixture.fetch(`/cas/${HASH}`, { method: "HEAD" });
      expect(await fixture.metric('kura_lookups_total{kind="cas",result="hit"}')).toBe(2);
      expect(await fixture.metric('kura_lookups_total{kind="cas",result="miss"}')).toBe(1);
      expect(await fixture.metric('kura_bytes_total{kind="cas",direction="read"}')).toBe(BLOB.length);
      expect(await fixture.metric('kura_bytes_total{kind="cas",direction="written"}')).toBe(BLOB.length);
      expect(await fixture.metric('kura_http_requests_total{protocol="bazel",method="GET",status="200"}')).toBe(1);
      const other = Buffer.from("chunked");
      await fixture.fetch(`/cas/${digestOf(other).hash}`, chunked(other));
      expect(await fixture.metric('kura_bytes_total{kind="cas",direction="written"}')).toBe(BLOB.length + other.length);
    });
  });

  describe("/ac", () => {
    const RESULT = actionResult({ output_files: [outputFile("out", digestOf(BLOB))], exit_code: 0 });
    const ENCODED = actionResultCodec.encode(RESULT);

    it("shares action results with gRPC, both ways, and keeps instances apart", async () => {
      await client.write(BLOB);
      expect(await statusOf(`/ac/${ACTION.hash}`)).toBe(404);
      expect(await fixture.put(`/ac/${ACTION.hash}`, ENCODED)).toBe(200);
      expect(await client.getActionResult(ACTION)).toEqual(RESULT);
      expect(await statusOf(`/other/ac/${ACTION.hash}`)).toBe(404);
      const other = digestOf(Buffer.from("another action"));
      using inMain = new CacheClient(fixture.server.endpoint, "team/main");
      await inMain.updateActionResult(other, RESULT);
      expect((await fixture.fetch(`/team/main/ac/${other.hash}`)).body.equals(ENCODED)).toBe(true);
      expect(await statusOf(`/ac/${other.hash}`)).toBe(404);
    });

    it("has an action result only while everything that it refers to is there", async () => {
      expect(await fixture.put(`/ac/${ACTION.hash}`, ENCODED)).toBe(200);
      for (const method of ["GET", "HEAD"]) expect(await statusOf(`/ac/${ACTION.hash}`, { method })).toBe(404);
      await client.write(BLOB);
      for (const method of ["GET", "HEAD"]) expect(await statusOf(`/ac/${ACTION.hash}`, { method })).toBe(200);
    });

    it("keeps what is no action result as it is, and gRPC does not see it", async () => {
      const large = Buffer.alloc(9_000_000, "larger than any action result");
      for (const value of [OPAQUE, Buffer.alloc(1), large]) {
        expect(await fixture.put(`/ac/${ACTION.hash}`, value)).toBe(200);
        expect((await fixture.fetch(`/ac/${ACTION.hash}`)).body.equals(value)).toBe(true);
        const head = await fixture.fetch(`/ac/${ACTION.hash}`, { method: "HEAD" });
        expect(head.headers.get("content-length")).toBe(`${value.length}`);
        expect(await client.getActionResult(ACTION)).toBeUndefined();
      }
      expect((await fixture.fetch(`/ac/${ACTION.hash}`, { headers: { range: "bytes=7-9" } })).body.length).toBe(3);
      expect(fixture.engine.openContents).toBe(0);
    });

    it("speaks JSON where it is asked to", async () => {
      await client.write(BLOB);
      const json = { outputFiles: [{ path: "out", digest: { hash: HASH, sizeBytes: "700000" } }], exitCode: 3 };
      const headers = { "content-type": "application/json; charset=utf-8" };
      expect(await fixture.put(`/ac/${ACTION.hash}`, JSON.stringify(json), headers)).toBe(200);
      expect(await client.getActionResult(ACTION)).toMatchObject({ exit_code: 3, output_files: [{ path: "out" }] });
      const answer = await fixture.fetch(`/ac/${ACTION.hash}`, {
        headers: { accept: "text/html, application/json;q=0.9" },
      });
      expect(answer.headers.get("content-type")).toBe("application/json");
      expect(JSON.parse(answer.body.toString())).toEqual(json);
    });

    it("refuses JSON that is no valid action result, and has none of what is none", async () => {
      const headers = { "content-type": "application/json" };
      for (const json of ["", "[]", "{", '{"unknown":1}', '{"outputFiles":[{"path":"/a"}]}', '{"exitCode":"x"}']) {
        expect([json, await fixture.put(`/ac/${ACTION.hash}`, json, headers)]).toEqual([json, 400]);
      }
      await fixture.put(`/ac/${ACTION.hash}`, OPAQUE);
      expect(await statusOf(`/ac/${ACTION.hash}`, { headers: { accept: "application/json" } })).toBe(404);
    });

    it("takes action results only, where it is told to", async () => {
      await fixture[Symbol.asyncDispose]();
      client[Symbol.dispose]();
      await start("--validate-ac", "on");
      expect(await fixture.put(`/ac/${ACTION.hash}`, OPAQUE)).toBe(400);
      expect(await fixture.put(`/ac/${ACTION.hash}`, Buffer.alloc(9_000_000))).toBe(413);
      await client.write(BLOB);
      expect(await fixture.put(`/ac/${ACTION.hash}`, ENCODED)).toBe(200);
      expect(await statusOf(`/ac/${ACTION.hash}`)).toBe(200);
    });

    it("counts each answer once", async () => {
      await fixture.fetch(`/ac/${ACTION.hash}`);
      await fixture.put(`/ac/${ACTION.hash}`, ENCODED);
      await fixture.fetch(`/ac/${ACTION.hash}`);
      await fixture.put(`/ac/${ACTION.hash}`, OPAQUE);
      await fixture.fetch(`/ac/${ACTION.hash}`);
      await fixture.put(`/ac/${ACTION.hash}`, actionResultCodec.encode(actionResult({ exit_code: 1 })));
      await fixture.fetch(`/ac/${ACTION.hash}`);
      expect(await fixture.metric('kura_lookups_total{kind="ac",result="hit"}')).toBe(2);
      expect(await fixture.metric('kura_lookups_total{kind="ac",result="miss"}')).toBe(2);
    });
  });
});
