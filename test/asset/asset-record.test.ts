import { expect, test } from "vitest";
import type { Asset } from "../../src/asset/asset.ts";
import { decodeAsset, encodeAsset } from "../../src/asset/asset-record.ts";
import { digestOf } from "../support/cas-content.ts";

const ASSET: Asset = {
  digest: digestOf(Buffer.from("content")),
  storedAtMs: 1_700_000_000_000.5,
  expireAtMs: 1_800_000_000_000,
  blobs: [digestOf(Buffer.from("a")), digestOf(Buffer.alloc(0))],
  directories: [digestOf(Buffer.from("b"))],
};

test("an asset is read back as it was written, with and without a time to expire", () => {
  expect(decodeAsset(encodeAsset(ASSET))).toEqual(ASSET);
  const lasting = { ...ASSET, expireAtMs: undefined, blobs: [], directories: [] };
  expect(decodeAsset(encodeAsset(lasting))).toEqual(lasting);
});

const RECORD = JSON.parse(Buffer.from(encodeAsset(ASSET)).toString()) as Record<string, unknown>;

test.each([
  ["version", 2],
  ["fn", "sha3"],
  ["fn", 1],
  ["digest", ["00", 1]],
  ["digest", "text"],
  ["digest", null],
  ["storedAtMs", "now"],
  ["storedAtMs", null],
  ["expireAtMs", "never"],
  ["blobs", null],
  ["blobs", [["00", 1]]],
  ["directories", [{}]],
])("a record whose %s is %j is none", (field, value) => {
  expect(decodeAsset(Buffer.from(JSON.stringify({ ...RECORD, [field]: value })))).toBeUndefined();
});

test.each(["", "{", "null", "[]"])("%j is no record", (text) => {
  expect(decodeAsset(Buffer.from(text))).toBeUndefined();
});
