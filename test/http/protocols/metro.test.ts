import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { HttpFixture } from "../../support/http-fixture.ts";

const KEY = "0123456789abcdef".repeat(5);
const RESULT = Buffer.alloc(300_000, "metro result ");

/** As Metro sends it: without a length. */
function inChunks(bytes: Buffer): ReadableStream {
  return ReadableStream.from([bytes.subarray(0, 1000), bytes.subarray(1000)]);
}

describe("Metro", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("misses with 404, stores what comes in chunks with 200, and hits with the same bytes", async () => {
    expect((await fixture.fetch(`/metro/${KEY}`)).status).toBe(404);
    const upload = { method: "PUT", body: inChunks(RESULT), duplex: "half" } as RequestInit;
    expect((await fixture.fetch(`/metro/${KEY}`, upload)).status).toBe(200);
    const hit = await fixture.fetch(`/metro/${KEY}`);
    expect([hit.status, hit.body.equals(RESULT)]).toEqual([200, true]);
    expect(fixture.engine.openContents).toBe(0);
  });

  it("answers a read that cannot be done now as a miss, since Metro fails the bundle on anything else", async () => {
    await fixture.put(`/metro/${KEY}`, RESULT);
    fixture.engine.get = () => Promise.reject(new CacheError("unavailable", "the shard is starting"));
    expect((await fixture.fetch(`/metro/${KEY}`)).status).toBe(404);
  });

  it.each(["short", KEY.toUpperCase(), `${KEY.slice(1)}%2f`])("refuses the key %s with 400", async (key) => {
    expect(await fixture.put(`/metro/${key}`, "x")).toBe(400);
    expect(fixture.engine.stagedEver).toBe(0);
  });
});
