import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpFixture } from "../../support/http-fixture.ts";

const HASH = "0123456789abcdef";
const ARTIFACT = Buffer.alloc(700_000, "turborepo artifact ");
const HEADERS = {
  "x-artifact-duration": "1234",
  "x-artifact-tag": "c2lnbmF0dXJlIA==",
  "x-artifact-sha": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
};

describe("Turborepo", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it("misses with 404, stores with 200, and hits, from the root and under its prefix", async () => {
    expect((await fixture.fetch(`/v8/artifacts/${HASH}?slug=team`)).status).toBe(404);
    expect(await fixture.put(`/v8/artifacts/${HASH}?slug=team`, ARTIFACT, HEADERS)).toBe(200);
    for (const base of ["/v8/artifacts", "/turbo/v8/artifacts"]) {
      const hit = await fixture.fetch(`${base}/${HASH}?slug=team`);
      expect([hit.status, hit.headers.get("content-length")]).toEqual([200, `${ARTIFACT.length}`]);
      expect(hit.body.equals(ARTIFACT)).toBe(true);
    }
    expect(fixture.engine.openContents).toBe(0);
  });

  it("gives the duration, the signature and the commit back on GET and on HEAD", async () => {
    await fixture.put(`/v8/artifacts/${HASH}`, ARTIFACT, HEADERS);
    for (const method of ["GET", "HEAD"]) {
      const { status, headers } = await fixture.fetch(`/v8/artifacts/${HASH}`, { method });
      expect(status).toBe(200);
      expect(Object.fromEntries(headers)).toMatchObject({ ...HEADERS, "content-length": `${ARTIFACT.length}` });
    }
    expect((await fixture.fetch("/v8/artifacts/fedcba9876543210", { method: "HEAD" })).status).toBe(404);
    expect(fixture.engine.openContents).toBe(0);
  });

  it("takes an artifact without a duration, and one that is empty", async () => {
    expect(await fixture.put(`/v8/artifacts/${HASH}`, "")).toBe(200);
    const hit = await fixture.fetch(`/v8/artifacts/${HASH}`);
    expect([hit.status, hit.body.length, hit.headers.get("x-artifact-duration")]).toEqual([200, 0, null]);
  });

  it("keeps teams apart, by identifier and by slug", async () => {
    const scopes = ["", "?slug=a", "?slug=b", "?teamId=a", "?teamId=b"];
    for (const scope of scopes) await fixture.put(`/v8/artifacts/${HASH}${scope}`, `of ${scope}`);
    for (const scope of scopes) {
      expect((await fixture.fetch(`/v8/artifacts/${HASH}${scope}`)).body.toString()).toBe(`of ${scope}`);
    }
    expect((await fixture.fetch(`/v8/artifacts/${HASH}?slug=b&teamId=a`)).body.toString()).toBe("of ?teamId=a");
  });

  it("tells by a query what it knows of artifacts", async () => {
    await fixture.put(`/v8/artifacts/${HASH}?slug=a`, ARTIFACT, HEADERS);
    await fixture.put("/v8/artifacts/00000000?slug=a", "no headers");
    const ask = (scope: string, body: string) => fixture.fetch(`/v8/artifacts${scope}`, { method: "POST", body });
    const hashes = JSON.stringify({ hashes: [HASH, "00000000", "11111111"] });
    const { status, body } = await ask("?slug=a", hashes);
    expect([status, JSON.parse(body.toString())]).toEqual([
      200,
      {
        [HASH]: { size: ARTIFACT.length, taskDurationMs: 1234, tag: HEADERS["x-artifact-tag"] },
        "00000000": { size: 10, taskDurationMs: 0 },
        "11111111": null,
      },
    ]);
    const others = await ask("?slug=b", hashes);
    expect(JSON.parse(others.body.toString())).toEqual({ [HASH]: null, "00000000": null, "11111111": null });
    expect(fixture.engine.openContents).toBe(0);
  });

  it.each(["", "{", "null", "[]", '{"hashes":"a"}', '{"hashes":[1]}', '{"hashes":["../x"]}'])(
    "refuses the query %s with 400",
    async (body) => {
      expect((await fixture.fetch("/v8/artifacts", { method: "POST", body })).status).toBe(400);
    },
  );

  it("refuses a query that is too long with 413", async () => {
    const body = JSON.stringify({ hashes: Array(5000).fill(HASH) });
    expect((await fixture.fetch("/v8/artifacts", { method: "POST", body })).status).toBe(413);
  });

  it("says that it is enabled, takes events, and lets a client send its token", async () => {
    const status = await fixture.fetch("/v8/artifacts/status?slug=a");
    expect(JSON.parse(status.body.toString())).toEqual({ status: "enabled" });
    const events = [{ sessionId: "s", source: "REMOTE", event: "HIT", hash: HASH, duration: 3 }];
    const body = JSON.stringify(events);
    expect((await fixture.fetch("/v8/artifacts/events", { method: "POST", body })).status).toBe(200);
    for (const path of ["", "/status", "/events", `/${HASH}`]) {
      const { status: answer, headers } = await fixture.fetch(`/v8/artifacts${path}`, { method: "OPTIONS" });
      expect(answer).toBe(204);
      expect(headers.get("access-control-allow-headers")?.toLowerCase()).toContain("authorization");
    }
  });

  it("refuses a duration that is none, and hashes that are none", async () => {
    expect(await fixture.put(`/v8/artifacts/${HASH}`, "x", { "x-artifact-duration": "soon" })).toBe(400);
    expect(await fixture.put("/v8/artifacts/..%2f..%2fetc", "x")).toBe(400);
    expect(await fixture.put("/v8/artifacts/0123456789ABCDEF", "x")).toBe(400);
    expect(fixture.engine.stagedEver).toBe(0);
  });
});
