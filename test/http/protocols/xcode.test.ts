import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpFixture } from "../../support/http-fixture.ts";

const ID = encodeURIComponent(
  "0~YWoYNXXwg7v_Gpj7EqwaHJeXMY6Q0FSYANeEC3z/Laeez9xEdOC9TWkHvdglkVr5U8HVuYxo2G9nK11Cl9N9xQ==",
);
const ARTIFACT = Buffer.alloc(300_000, "object file ");
const SCOPE = "tenant_id=acme&namespace_id=ios";

describe("Xcode", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it.each(["POST", "PUT"])("misses an artifact with 404, stores it by %s with 204, and hits", async (method) => {
    const path = `/xcode/api/cache/cas/${ID}?${SCOPE}`;
    expect((await fixture.fetch(path)).status).toBe(404);
    expect((await fixture.fetch(path, { method, body: ARTIFACT })).status).toBe(204);
    const hit = await fixture.fetch(path);
    expect([hit.status, hit.body.equals(ARTIFACT)]).toEqual([200, true]);
    expect(fixture.engine.openContents).toBe(0);
  });

  it("gives back the entries of a key", async () => {
    const path = `/xcode/api/cache/keyvalue/${ID}?${SCOPE}`;
    const entries = [{ value: "first" }, { value: "second" }];
    expect((await fixture.fetch(path)).status).toBe(404);
    const body = JSON.stringify({ cas_id: decodeURIComponent(ID), entries });
    expect(await fixture.put(`/xcode/api/cache/keyvalue?${SCOPE}`, body)).toBe(204);
    const hit = await fixture.fetch(path);
    expect([hit.status, hit.headers.get("content-type")]).toEqual([200, "application/json"]);
    expect(JSON.parse(hit.body.toString())).toEqual({ entries });
  });

  it("keeps projects apart, and artifacts from entries", async () => {
    const scopes = [
      "",
      "?tenant_id=a&namespace_id=x",
      "?tenant_id=a&namespace_id=y",
      "?account_handle=b&project_handle=x",
    ];
    for (const scope of scopes) await fixture.put(`/xcode/api/cache/cas/id${scope}`, `of ${scope}`);
    for (const scope of scopes) {
      expect((await fixture.fetch(`/xcode/api/cache/cas/id${scope}`)).body.toString()).toBe(`of ${scope}`);
      expect((await fixture.fetch(`/xcode/api/cache/keyvalue/id${scope}`)).status).toBe(404);
    }
  });

  it.each([
    "",
    "{",
    "null",
    '{"cas_id":"a"}',
    '{"cas_id":"","entries":[]}',
    '{"cas_id":"a","entries":[{}]}',
    '{"cas_id":"a","entries":[null]}',
    '{"cas_id":1,"entries":[]}',
  ])("refuses the entries %s with 400", async (body) => {
    expect(await fixture.put("/xcode/api/cache/keyvalue", body)).toBe(400);
    expect(fixture.engine.stagedEver).toBe(0);
  });

  it("refuses entries of more than a mebibyte with 413, and an identifier that is none with 400", async () => {
    expect(await fixture.put("/xcode/api/cache/keyvalue", Buffer.alloc(1024 * 1024 + 1))).toBe(413);
    expect(await fixture.put("/xcode/api/cache/cas/%00", "x")).toBe(400);
    expect(await fixture.put("/xcode/api/cache/cas/a%20b", "x")).toBe(400);
  });
});
