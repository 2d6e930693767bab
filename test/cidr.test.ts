import { expect, test } from "vitest";
import { AddressRanges, formatCidr, parseCidr } from "../src/cidr.ts";

function ranges(...texts: string[]): AddressRanges {
  return new AddressRanges(texts.map((text) => parseCidr(text)!));
}

test("a range is read back as it is written, and an address is the range of itself", () => {
  for (const text of ["10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::1/128"])
    expect(formatCidr(parseCidr(text)!)).toBe(text);
  expect(formatCidr(parseCidr("127.0.0.1")!)).toBe("127.0.0.1/32");
  expect(formatCidr(parseCidr("::1")!)).toBe("::1/128");
});

test.each([
  "",
  "10.0.0.0/33",
  "::/129",
  "10.0.0/8",
  "host/8",
  "10.0.0.0/8/8",
  "10.0.0.0/",
  "10.0.0.0/x",
  "fe80::1%lo/64",
])("%j is no range", (text) => {
  expect(parseCidr(text)).toBeUndefined();
});

test("an address in IPv6 form, or with a zone, counts as what it is", () => {
  expect(ranges("10.0.0.0/8").has("::ffff:10.1.2.3")).toBe(true);
  expect(ranges("10.0.0.0/8").has("::ffff:11.1.2.3")).toBe(false);
  expect(ranges("fe80::/10").has("fe80::1%eth0")).toBe(true);
});

test("what is no address is in no range", () => {
  expect(ranges("0.0.0.0/0", "::/0").has("localhost")).toBe(false);
});
