import { expect, it } from "vitest";
import { isLoopbackAddress } from "../src/loopback-address.ts";

it("knows the addresses that only this machine reaches", () => {
  for (const address of ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"]) {
    expect([address, isLoopbackAddress(address)]).toEqual([address, true]);
  }
  for (const address of ["0.0.0.0", "::", "192.168.1.7", "128.0.0.1", "::ffff:10.0.0.1", "fe80::1"]) {
    expect([address, isLoopbackAddress(address)]).toEqual([address, false]);
  }
});
