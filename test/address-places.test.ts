import { expect, test } from "vitest";
import { AddressPlaces } from "../src/address-places.ts";

test("an address has its places, whatever others have, and has them again once they are given back", () => {
  const places = new AddressPlaces(2);
  const take = (address: string): boolean => places.tryTake(address);
  expect(["::1", "10.0.0.1", "::1", "::1", "10.0.0.1", "10.0.0.1"].map(take)).toEqual([
    true,
    true,
    true,
    false,
    true,
    false,
  ]);
  places.give("::1");
  expect(["::1", "::1", "10.0.0.1"].map(take)).toEqual([true, false, false]);
});
