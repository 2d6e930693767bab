import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpFixture } from "../../support/http-fixture.ts";

const FILE = "/sccache/0/1/2/0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const OBJECT = Buffer.alloc(300_000, "sccache object ");

describe("sccache", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("misses with 404, stores with 200, and hits with the same bytes", async () => {
    for (const path of [FILE, "/sccache/.sccache_check"]) {
      expect((await fixture.fetch(path)).status).toBe(404);
      expect(await fixture.put(path, OBJECT)).toBe(200);
      const hit = await fixture.fetch(path);
      expect([hit.status, hit.body.equals(OBJECT)]).toEqual([200, true]);
      const head = await fixture.fetch(path, { method: "HEAD" });
      expect([head.status, head.headers.get("content-length")]).toEqual([200, `${OBJECT.length}`]);
    }
    expect(fixture.engine.openContents).toBe(0);
  });

  it.each(["/sccache/", "/sccache/0/", "/sccache/0/1/2/"])(
    "has the collection %s without its being made",
    async (path) => {
      const found = await fixture.fetch(path, { method: "PROPFIND", headers: { depth: "0" } });
      expect([found.status, found.headers.get("content-type")]).toEqual([207, "application/xml; charset=utf-8"]);
      expect(found.body.toString()).toContain(`<D:href>${path}</D:href>`);
      expect(found.body.toString()).toContain("<D:collection/>");
      expect((await fixture.fetch(path, { method: "MKCOL" })).status).toBe(201);
    },
  );

  it("finds a file also where the endpoint was given with a slash at its end", async () => {
    await fixture.put(FILE, OBJECT);
    const path = FILE.replace("/sccache/", "/sccache//");
    expect((await fixture.fetch(path)).body.equals(OBJECT)).toBe(true);
    expect((await fixture.fetch("/sccache//0/", { method: "PROPFIND" })).body.toString()).toContain("/sccache/0/");
  });

  it("tells of a file that is there, and of none that is not", async () => {
    expect((await fixture.fetch(FILE, { method: "PROPFIND" })).status).toBe(404);
    await fixture.put(FILE, OBJECT);
    const found = await fixture.fetch(FILE, { method: "PROPFIND" });
    expect(found.status).toBe(207);
    expect(found.body.toString()).toContain(`<D:getcontentlength>${OBJECT.length}</D:getcontentlength>`);
    expect(found.body.toString()).not.toContain("collection");
  });

  it("says what it can do, and refuses the rest with 405", async () => {
    const options = await fixture.fetch(FILE, { method: "OPTIONS" });
    expect([options.status, options.headers.get("dav")]).toEqual([204, "1"]);
    expect((await fixture.fetch(FILE, { method: "DELETE" })).status).toBe(405);
  });

  it.each(["a//b", "..%2f..%2fetc", "a/.%2fb", "a%2f..", "a%20b", "a/", "", "%3Cx%3E", "a".repeat(1025)])(
    "refuses a file at %s with 400",
    async (path) => {
      expect(await fixture.put(`/sccache/${path}`, "x")).toBe(400);
      expect((await fixture.fetch(`/sccache/${path}`)).status).toBe(400);
      expect(fixture.engine.stagedEver).toBe(0);
    },
  );
});
