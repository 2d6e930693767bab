import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HttpFixture } from "../../support/http-fixture.ts";

const VALUE = Buffer.from("cCrS result");
const FLAT = "ab0123456789abcdefghijklmnopqrstu";
const LAYOUTS = {
  flat: FLAT,
  subdirs: `${FLAT.slice(0, 2)}/${FLAT.slice(2)}`,
  bazel: `ac/${"0123456789abcdef".repeat(4)}`,
};

describe("ccache", () => {
  let fixture: HttpFixture;

  beforeEach(async () => {
    fixture = await HttpFixture.start();
  });
  afterEach(() => fixture[Symbol.asyncDispose]());

  it.each(Object.entries(LAYOUTS))("misses, stores and hits in the layout %s", async (_layout, path) => {
    expect((await fixture.fetch(`/ccache/${path}`)).status).toBe(404);
    expect(await fixture.put(`/ccache/${path}`, VALUE)).toBe(200);
    expect((await fixture.fetch(`/ccache/${path}`)).body.equals(VALUE)).toBe(true);
    expect(await fixture.metric('kura_lookups_total{kind="ccache",result="hit"}')).toBe(1);
  });

  it("is served in the layout bazel at the root, too", async () => {
    expect(await fixture.put(`/${LAYOUTS.bazel}`, VALUE)).toBe(200);
    expect((await fixture.fetch(`/${LAYOUTS.bazel}`)).body.equals(VALUE)).toBe(true);
  });

  it.each(["short", `a/${FLAT}`, `${FLAT.toUpperCase()}`, "..%2f..%2fetc%2fpasswdpasswd"])(
    "has nothing at %s and takes nothing there",
    async (path) => {
      expect([400, 404]).toContain((await fixture.fetch(`/ccache/${path}`)).status);
      expect([400, 404]).toContain(await fixture.put(`/ccache/${path}`, VALUE));
      expect(fixture.engine.stagedEver).toBe(0);
    },
  );
});
