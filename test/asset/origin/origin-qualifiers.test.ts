import { describe, expect, test } from "vitest";
import { checkFetchable, headersFor, integrityOf } from "../../../src/asset/origin/origin-qualifiers.ts";
import { CacheError } from "../../../src/cache/cache-error.ts";
import { expectCode } from "../../contract/entry-store-contract.ts";

const SRI = `sha256-${Buffer.alloc(32).toString("base64")}`;

describe("qualifiers that an origin can be asked to honour", () => {
  test("are a checksum, Bazel's canonical id, and headers", () => {
    const qualifiers = [
      { name: "checksum.sri", value: SRI },
      { name: "bazel.canonical_id", value: "anything" },
      { name: "http_header:Authorization", value: "Bearer x" },
      { name: "http_header_url:1:X-Key", value: "" },
    ];
    expect(() => checkFetchable(qualifiers, 2)).not.toThrow();
  });

  test.each([
    ["vcs.branch", "main"],
    ["http_header", "x"],
    ["http_header:", "x"],
    ["http_header:Host", "x"],
    ["http_header:content-length", "1"],
    ["http_header:Transfer-Encoding", "chunked"],
    ["http_header:Accept-Encoding", "gzip"],
    ["http_header:Bad Name", "x"],
    ["http_header:X-Key", "a\r\nX-Other: b"],
    ["http_header_url:2:X-Key", "x"],
    ["http_header_url:x:X-Key", "x"],
    ["checksum.sri", "md5-AAAA"],
  ])("are not %s: %j", async (name, value) => {
    await expectCode("invalid_argument", async () => checkFetchable([{ name, value }], 2));
  });

  test("leave the others to be named one by one, within bounds", () => {
    const unsupported = (count: number): CacheError["fieldViolations"] => {
      const qualifiers = Array.from({ length: count }, (_, index) => ({ name: `other.${index}`, value: "" }));
      try {
        checkFetchable([{ name: "checksum.sri", value: SRI }, ...qualifiers], 1);
      } catch (error) {
        if (error instanceof CacheError) return error.fieldViolations;
      }
      return [];
    };
    expect(unsupported(2)).toEqual([
      { field: "qualifiers.name", description: '"other.0" not supported' },
      { field: "qualifiers.name", description: '"other.1" not supported' },
    ]);
    expect(unsupported(100).length).toBe(16);
  });

  test("send headers to the URI that they are for, and what is for one before what is for all", () => {
    const qualifiers = [
      { name: "http_header_url:1:X-Key", value: "one" },
      { name: "http_header:x-key", value: "all" },
      { name: "http_header:X-Other", value: "other" },
    ];
    expect(headersFor(qualifiers, 0)).toEqual({ "x-key": "all", "x-other": "other" });
    expect(headersFor(qualifiers, 1)).toEqual({ "x-key": "one", "x-other": "other" });
  });

  test("have the checksum by its name", () => {
    expect(integrityOf([{ name: "checksum.sri", value: SRI }])?.algorithm).toBe("sha256");
    expect(integrityOf([{ name: "checksum", value: SRI }])).toBeUndefined();
  });
});
