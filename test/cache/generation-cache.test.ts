import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { GenerationCache } from "../../src/cache/generation-cache.ts";

describe("GenerationCache", () => {
  test("gives back what was set last, and nothing for what was deleted", () => {
    const cache = new GenerationCache<string, number>({ costMax: 100 });
    cache.set("a", 1, 10);
    cache.set("a", 2, 20);
    cache.set("b", 3, 10);
    cache.delete("b");
    expect([cache.get("a"), cache.get("b"), cache.get("c"), cache.cost]).toEqual([2, undefined, undefined, 20]);
  });

  test("forgets what was not used while half of the bound was set twice, and keeps what was", () => {
    const cache = new GenerationCache<string, number>({ costMax: 20 });
    cache.set("used", 1, 1);
    cache.set("unused", 2, 1);
    for (let i = 0; i < 100; i++) {
      cache.set(`other ${i}`, i, 1);
      expect(cache.get("used")).toBe(1);
    }
    expect(cache.get("unused")).toBeUndefined();
  });

  test("does not take what costs more than half of the bound, nor keep what it was to replace", () => {
    const cache = new GenerationCache<string, number>({ costMax: 20 });
    expect(cache.set("a", 1, 10)).toBe(true);
    expect(cache.set("a", 2, 11)).toBe(false);
    expect([cache.get("a"), cache.cost]).toEqual([undefined, 0]);
    expect(new GenerationCache<string, number>({ costMax: 0 }).set("a", 1, 1)).toBe(false);
  });

  test("carries over what outlives its generation, and says when one begins", () => {
    let generations = 0;
    const onGeneration = (): void => void generations++;
    const cache = new GenerationCache({ costMax: 4, carry: (value: string) => `${value}'`, onGeneration });
    cache.set("a", "a", 1);
    cache.set("b", "b", 1);
    cache.set("c", "c", 1);
    expect(generations).toBe(1);
    expect([cache.get("a"), cache.get("a"), cache.get("c")]).toEqual(["a'", "a'", "c"]);
  });

  test("says what it has forgotten: replaced, deleted, or not used for long; not what was carried over", () => {
    const forgotten: string[] = [];
    const onForgotten = (value: string): void => void forgotten.push(value);
    const cache = new GenerationCache<string, string>({ costMax: 4, onForgotten });
    cache.set("a", "replaced", 1);
    cache.set("a", "deleted", 1);
    cache.delete("a");
    cache.set("b", "used", 1);
    cache.set("c", "unused", 1);
    cache.set("d", "d", 2);
    expect(cache.get("b")).toBe("used");
    expect(forgotten).toEqual(["replaced", "deleted", "unused"]);
  });

  test("whatever is done to it, it never holds more than its bound and never gives a wrong value", () => {
    const key = fc.integer({ min: 0, max: 12 });
    const command = fc.oneof(
      fc.record({ kind: fc.constant("set" as const), key, cost: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ kind: fc.constantFrom("get" as const, "delete" as const), key }),
      fc.record({ kind: fc.constant("deleteWhere" as const), key }),
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 60 }), fc.array(command, { maxLength: 80 }), (costMax, commands) => {
        const gone = new Set<number>();
        const onForgotten = ({ version }: { version: number }): void => void gone.add(version);
        const cache = new GenerationCache<number, { key: number; version: number }>({ costMax, onForgotten });
        const latest = new Map<number, number>();
        for (const [version, step] of commands.entries()) {
          const value = { key: step.key, version };
          if (step.kind === "set") {
            const isHeld = cache.set(step.key, value, step.cost);
            if (isHeld !== step.cost <= costMax / 2) throw new Error("what is held depends on its cost");
            if (isHeld) latest.set(step.key, version);
            else latest.delete(step.key);
            if (isHeld && cache.get(step.key) !== value) throw new Error("what was just set is there");
          } else if (step.kind === "delete" || step.kind === "deleteWhere") {
            if (step.kind === "delete") cache.delete(step.key);
            else cache.deleteWhere((held) => held.key === step.key);
            latest.delete(step.key);
          }
          const last = latest.has(step.key) ? [{ key: step.key, version: latest.get(step.key) }] : [];
          const held = cache.get(step.key);
          expect([...last, undefined]).toContainEqual(held);
          if (held !== undefined && gone.has(held.version)) throw new Error("what it gives is not forgotten");
          expect(cache.cost).toBeGreaterThanOrEqual(0);
          expect(cache.cost).toBeLessThanOrEqual(costMax);
        }
        for (const held of latest.keys()) cache.delete(held);
        expect(cache.cost).toBe(0);
      }),
    );
  });
});
