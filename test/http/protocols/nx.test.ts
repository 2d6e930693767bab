import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { HttpFixture } from "../../support/http-fixture.ts";

const KEY = "12345678901234567890";
const ARTIFACT = Buffer.alloc(300_000, "nx artifact ");

describe("Nx", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start("--max-blob-size", "1MiB");
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("misses with 404, stores with 200, and hits, from the root and under its prefix", async () => {
    expect((await fixture.fetch(`/v1/cache/${KEY}`)).status).toBe(404);
    expect(await fixture.put(`/v1/cache/${KEY}`, ARTIFACT)).toBe(200);
    for (const prefix of ["", "/nx"]) {
      const hit = await fixture.fetch(`${prefix}/v1/cache/${KEY}`);
      expect([hit.status, hit.body.equals(ARTIFACT)]).toEqual([200, true]);
    }
  });

  it("answers a read that cannot be done now as a miss, since Nx fails the build on anything else", async () => {
    fixture.engine.find = () => {
      throw new CacheError("unavailable", "the shard is starting");
    };
    expect((await fixture.fetch(`/v1/cache/${KEY}`)).status).toBe(404);
  });

  it("answers an upload that cannot be taken with 403, which lets the build go on", async () => {
    expect(await fixture.put(`/v1/cache/${KEY}`, Buffer.alloc(1024 * 1024 + 1))).toBe(403);
    fixture.engine.stage = () => Promise.reject(new CacheError("storage_full", "the disk is full"));
    expect(await fixture.put(`/v1/cache/${KEY}`, ARTIFACT)).toBe(403);
    fixture.engine.stage = () => Promise.reject(new TypeError("a fault"));
    expect(await fixture.put(`/v1/cache/${KEY}`, ARTIFACT)).toBe(500);
  });

  it.each(["a b", "a.b", "..%2fcas", "x".repeat(129)])("refuses the key %s with 400", async (key) => {
    expect(await fixture.put(`/v1/cache/${encodeURI(key)}`, ARTIFACT)).toBe(400);
  });
});
