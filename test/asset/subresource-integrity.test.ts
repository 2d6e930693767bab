import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { IntegrityCheck, parseIntegrity } from "../../src/asset/subresource-integrity.ts";
import { CacheError } from "../../src/cache/cache-error.ts";

const CONTENT = Buffer.from("content");

function sri(algorithm: string, content: Uint8Array = CONTENT): string {
  return `${algorithm}-${createHash(algorithm).update(content).digest("base64")}`;
}

function problemOf(value: string, ...chunks: string[]): string | undefined {
  const check = new IntegrityCheck(parseIntegrity(value));
  for (const chunk of chunks) check.update(Buffer.from(chunk));
  return check.problem();
}

describe("an integrity value", () => {
  test.each(["sha256", "sha384", "sha512"])(
    "by %s is met by its content, in whatever chunks, and by no other",
    (name) => {
      expect(problemOf(sri(name), "content")).toBeUndefined();
      expect(problemOf(sri(name), "con", "", "tent")).toBeUndefined();
      expect(problemOf(sri(name), "Content")).toMatch(/^checksum.sri: expected sha/);
    },
  );

  test("with several hashes by one function is met by each of them", () => {
    const value = `${sri("sha256", Buffer.from("other"))}  ${sri("sha256")}\n`;
    expect(problemOf(value, "content")).toBeUndefined();
    expect(problemOf(value, "other")).toBeUndefined();
    expect(problemOf(value, "third")).toBeDefined();
  });

  test("counts by its strongest function only, as the W3C has it", () => {
    const value = `${sri("sha256")} ${sri("sha512", Buffer.from("other"))}`;
    expect(parseIntegrity(value).algorithm).toBe("sha512");
    expect(problemOf(value, "content")).toBeDefined();
    expect(problemOf(value, "other")).toBeUndefined();
  });

  test("may carry options, which mean nothing", () => {
    expect(problemOf(`${sri("sha256")}?ct=text`, "content")).toBeUndefined();
  });

  test.each([
    "",
    "sha256",
    "sha256-",
    "md5-XrY7u+Ae7tCTyyK7j1rNww==",
    `sha384-${"A".repeat(44)}`,
    "sha256-!!!",
    `${"x".repeat(9000)}`,
  ])("%j is refused", (value) => {
    expect(() => parseIntegrity(value)).toThrow(CacheError);
  });
});
