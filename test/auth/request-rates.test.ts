import { expect, test } from "vitest";
import { RequestRates } from "../../src/auth/request-rates.ts";
import { CacheError } from "../../src/cache/cache-error.ts";

let nowMs = 0;
const clock = { wallMs: () => 0, monotonicMs: () => nowMs };

function open(options: Partial<ConstructorParameters<typeof RequestRates>[0]> = {}): RequestRates {
  nowMs = 1e9;
  return new RequestRates({ requestRate: 10, requestBurst: 3, clock, ...options });
}

/** @returns undefined where the request passes, else what its caller is told. */
function refusalOf(rates: RequestRates, name: string | undefined, address = ""): CacheError | undefined {
  try {
    rates.count(name, address);
    return undefined;
  } catch (error) {
    if (error instanceof CacheError) return error;
    throw error;
  }
}

function passed(rates: RequestRates, name: string, count: number): number {
  return Array.from({ length: count }, () => refusalOf(rates, name)).filter((refusal) => refusal === undefined).length;
}

test("a caller may make a burst at once, and then one request for each that its rate allows", () => {
  const rates = open();
  expect(passed(rates, "ci", 5)).toBe(3);
  nowMs += 100;
  expect(passed(rates, "ci", 5)).toBe(1);
  nowMs += 250;
  expect(passed(rates, "ci", 5)).toBe(2);
  nowMs += 3_600_000;
  expect(passed(rates, "ci", 5)).toBe(3);
});

test("who is refused is told when the next one passes, and then it does", () => {
  const rates = open();
  passed(rates, "ci", 3);
  nowMs += 30;
  const refusal = refusalOf(rates, "ci");
  expect(refusal).toMatchObject({ code: "resource_exhausted", shedBy: "rate" });
  expect(refusal?.retryAfterMs).toBeCloseTo(70, 3);
  // Refused ones cost nothing.
  expect(passed(rates, "ci", 1000)).toBe(0);
  nowMs += 69;
  expect(passed(rates, "ci", 1)).toBe(0);
  nowMs += 2;
  expect(passed(rates, "ci", 1)).toBe(1);
});

test("callers are told apart by name, and those without one by their network", () => {
  const rates = open({ requestBurst: 1 });
  const pass = (name: string | undefined, address: string): boolean => refusalOf(rates, name, address) === undefined;
  expect(pass("token ci", "10.0.0.1")).toBe(true);
  expect(pass("token ci", "10.0.0.2")).toBe(false);
  expect(pass(undefined, "10.0.0.1")).toBe(true);
  expect(pass(undefined, "10.0.0.1")).toBe(false);
  expect(pass(undefined, "10.0.0.2")).toBe(true);
  expect(pass(undefined, "2001:db8::1")).toBe(true);
  expect(pass(undefined, "2001:db8::ffff:2")).toBe(false);
  expect(pass(undefined, "2001:db8:0:1::1")).toBe(true);
});

test("what one thread counts the others see", () => {
  const first = open();
  const second = new RequestRates({ requestRate: 10, requestBurst: 3, clock, buffer: first.buffer });
  expect([first, second, second, first].map((rates) => passed(rates, "ci", 1))).toEqual([1, 1, 1, 0]);
});

test("more callers than there are slots for take the slots of those that have paused, and never more memory", () => {
  const rates = open({ callerCountMax: 16 });
  for (let caller = 0; caller < 1000; caller++) {
    expect(passed(rates, `caller ${caller}`, 4)).toBe(3);
    nowMs += 300;
  }
  expect(rates.buffer.byteLength).toBe((4 + 16 * 2) * 8);
});

test("where all slots are taken, a caller goes on with what is left of the fullest bucket, and no one stays shut out", () => {
  const rates = open({ callerCountMax: 8, requestBurst: 2 });
  for (let caller = 0; caller < 8; caller++) passed(rates, `caller ${caller}`, caller === 0 ? 1 : 2);
  expect(passed(rates, "late", 2)).toBe(1);
  nowMs += 200;
  expect(passed(rates, "late", 3)).toBe(2);
});
