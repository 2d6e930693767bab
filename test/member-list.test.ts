import fc from "fast-check";
import { expect, test } from "vitest";
import { type Member, MemberList, NOWHERE } from "../src/member-list.ts";

class Numbered implements Member {
  place = NOWHERE;
  readonly number: number;

  constructor(number: number) {
    this.number = number;
  }
}

test("has the members that a set has", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (numbers) => {
      const members = Array.from({ length: 21 }, (_, number) => new Numbered(number));
      const [list, set] = [new MemberList<Numbered>(), new Set<Numbered>()];
      for (const number of numbers) {
        const member = members[number]!;
        const wasThere = set.delete(member);
        expect(list.delete(member)).toBe(wasThere);
        if (!wasThere) {
          list.add(member);
          set.add(member);
        }
        expect(list.size).toBe(set.size);
        expect(new Set(list)).toEqual(set);
      }
    }),
  );
});

test("members may go while others look through them", () => {
  const list = new MemberList<Numbered>();
  for (let number = 0; number < 5; number++) list.add(new Numbered(number));
  const seen: number[] = [];
  for (const member of list) {
    seen.push(member.number);
    list.delete(member);
  }
  expect(seen).toEqual([0, 1, 2, 3, 4]);
  expect(list.size).toBe(0);
});
