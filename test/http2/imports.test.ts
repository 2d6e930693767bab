import { readdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const FOLDER = fileURLToPath(new URL("../../src/http2/", import.meta.url));

test("the folder stands alone: it imports Node and itself, so that it could be published as it is", () => {
  const files = readdirSync(FOLDER, { recursive: true, withFileTypes: true }).filter(({ name }) =>
    name.endsWith(".ts"),
  );
  const imports = files.flatMap(({ parentPath, name }) => {
    const source = readFileSync(join(parentPath, name), "utf8");
    return [...source.matchAll(/\bfrom "([^"]+)"|\bimport\(?\s*"([^"]+)"/g)].map(([, from, bare]) => {
      const specifier = from ?? bare ?? "";
      return specifier.startsWith(".") ? resolve(parentPath, specifier) : specifier;
    });
  });
  expect(imports.length).toBeGreaterThan(50);
  expect(imports.filter((each) => !each.startsWith("node:") && !each.startsWith(FOLDER))).toEqual([]);
});
