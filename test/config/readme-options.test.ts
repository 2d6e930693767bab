import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { withOptionTable } from "../../src/config/readme-options.ts";

const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");

it("keeps the option table of the README as `npm run readme` writes it", () => {
  expect(readme).toBe(withOptionTable(readme));
});

it("refuses a README without the markers", () => {
  expect(() => withOptionTable("# Kura\n")).toThrow("expected the markers");
});
