import { describe, expect, it } from "vitest";
import { findPeers } from "../../bench/systems/peers.ts";

describe("the peers of a comparison", () => {
  it("are taken from where they are said to be", () => {
    const { found, absent } = findPeers([`nginx=${process.execPath}`, `bazel-remote=${process.execPath}`]);
    expect(found.map(({ name }) => name)).toEqual(expect.arrayContaining(["bazel-remote", "nginx"]));
    expect(absent).not.toContain("nginx");
  });

  it("are refused where their name or their program is unknown", () => {
    expect(() => findPeers(["squid=/bin/true"])).toThrow("--peer: expected NAME=PATH");
    expect(() => findPeers(["nginx=/no/such/program"])).toThrow("is no program");
  });
});
