import { test } from "vitest";
import { Places } from "../../src/cache/places.ts";
import { expectCode } from "../contract/entry-store-contract.ts";

test("a place is waited for by as many as may, and whoever comes then is refused", async () => {
  const places = new Places("jobs", 1, 1);
  const first = await places.take();
  const second = places.take();
  await expectCode("resource_exhausted", () => places.take());
  first[Symbol.dispose]();
  (await second)[Symbol.dispose]();
  (await places.take())[Symbol.dispose]();
});

test("a place is taken at once or not at all", async () => {
  const places = new Places("jobs", 1, 1);
  const first = places.takeNow();
  await expectCode("resource_exhausted", async () => void places.takeNow());
  first[Symbol.dispose]();
  places.takeNow()[Symbol.dispose]();
});
