import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { HttpFixture } from "../../support/http-fixture.ts";

const KEY = "0123456789abcdef0123456789abcdef";
const ARTIFACT = Buffer.alloc(700_000, "gradle artifact ");

describe("Gradle", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("misses with 404, stores with 200, and hits with the same bytes", async () => {
    expect((await fixture.fetch(`/gradle/${KEY}`)).status).toBe(404);
    expect(await fixture.put(`/gradle/${KEY}`, ARTIFACT)).toBe(200);
    const hit = await fixture.fetch(`/gradle/${KEY}`);
    expect([hit.status, hit.headers.get("content-length")]).toEqual([200, `${ARTIFACT.length}`]);
    expect(hit.body.equals(ARTIFACT)).toBe(true);
    expect(fixture.engine.openContents).toBe(0);
  });

  it("replaces a value that is stored again", async () => {
    await fixture.put(`/gradle/${KEY}`, "first");
    await fixture.put(`/gradle/${KEY}`, "second, longer");
    expect((await fixture.fetch(`/gradle/${KEY}`)).body.toString()).toBe("second, longer");
  });

  it("renews the lease of what it hits", async () => {
    await fixture.put(`/gradle/${KEY}`, ARTIFACT);
    fixture.engine.renewed.length = 0;
    await fixture.fetch(`/gradle/${KEY}`);
    await fixture.fetch(`/gradle/${KEY}`, { method: "HEAD" });
    expect(fixture.engine.renewed).toHaveLength(2);
  });

  it.each(["short", "0123456789ABCDEF0123456789ABCDEF", "..%2f..%2fetc%2fpasswd00000000000000", "%00".repeat(32)])(
    "refuses the key %s with 400",
    async (key) => {
      expect((await fixture.fetch(`/gradle/${key}`)).status).toBe(400);
      expect(await fixture.put(`/gradle/${key}`, "x")).toBe(400);
      expect(fixture.engine.stagedEver).toBe(0);
    },
  );

  it("answers a read that cannot be done now as a miss, since Gradle gives up on anything else", async () => {
    await fixture.put(`/gradle/${KEY}`, ARTIFACT);
    for (const error of [
      new CacheError("resource_exhausted", "no descriptor is free"),
      new CacheError("unavailable", "the shard is starting"),
      new TypeError("a fault"),
    ]) {
      fixture.engine.get = () => Promise.reject(error);
      expect((await fixture.fetch(`/gradle/${KEY}`)).status).toBe(404);
    }
  });

  it("counts requests, hits, misses and bytes", async () => {
    await fixture.fetch(`/gradle/${KEY}`);
    await fixture.put(`/gradle/${KEY}`, ARTIFACT);
    await fixture.fetch(`/gradle/${KEY}`);
    await fixture.fetch(`/gradle/${KEY}`, { headers: { range: "bytes=10-19" } });
    expect(await fixture.metric('kura_lookups_total{kind="gradle",result="hit"}')).toBe(2);
    expect(await fixture.metric('kura_lookups_total{kind="gradle",result="miss"}')).toBe(1);
    expect(await fixture.metric('kura_bytes_total{kind="gradle",direction="written"}')).toBe(ARTIFACT.length);
    expect(await fixture.metric('kura_bytes_total{kind="gradle",direction="read"}')).toBe(ARTIFACT.length + 10);
    expect(await fixture.metric('kura_http_requests_total{protocol="gradle",method="PUT",status="200"}')).toBe(1);
    expect(await fixture.metric('kura_http_requests_total{protocol="gradle",method="GET",status="206"}')).toBe(1);
  });
});
