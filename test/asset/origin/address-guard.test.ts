import type { LookupAddress } from "node:dns";
import { describe, expect, test } from "vitest";
import { AddressGuard, oneAtATime, type Resolve } from "../../../src/asset/origin/address-guard.ts";
import { parseCidr } from "../../../src/cidr.ts";

function resolvesTo(...addresses: string[]): Resolve {
  const found = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
  return (_hostname, _options, callback) => callback(null, found);
}

function lookUp(guard: AddressGuard, all: boolean): Promise<string | LookupAddress[]> {
  return new Promise((resolve, reject) => {
    guard.lookup("origin.example", { all }, (error, found) => {
      if (error === null) resolve(found);
      else reject(error);
    });
  });
}

describe("AddressGuard", () => {
  const guard = new AddressGuard([]);

  test.each([
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1%eth0",
    "ff02::1",
  ])("%s is refused", (address) => {
    expect(guard.allows(address)).toBe(false);
  });

  test.each(["1.1.1.1", "172.32.0.1", "192.169.0.1", "99.255.255.255", "2606:4700::1111", "2a00:1450::1"])(
    "%s is allowed",
    (address) => {
      expect(guard.allows(address)).toBe(true);
    },
  );

  test("ranges that were allowed are, and no others", () => {
    const allowing = new AddressGuard([parseCidr("10.1.0.0/16")!, parseCidr("::1")!]);
    expect(["10.1.2.3", "::ffff:10.1.2.3", "::1"].filter((address) => !allowing.allows(address))).toEqual([]);
    expect(["10.2.0.1", "127.0.0.1", "::2"].filter((address) => allowing.allows(address))).toEqual([]);
  });

  test("a host that is an address is checked as it is written in a URL, in any of its forms", () => {
    for (const url of [
      "http://127.0.0.1/",
      "http://0x7f.1/",
      "http://2130706433/",
      "http://[::1]/",
      "http://[::ffff:a00:1]/",
    ]) {
      expect(() => guard.checkLiteral(new URL(url).hostname)).toThrow(/not allowed/);
    }
    guard.checkLiteral("1.1.1.1");
    guard.checkLiteral("a-name.example");
  });

  test("of the addresses of a name only those that are allowed are handed to the connection", async () => {
    const mixed = new AddressGuard([], resolvesTo("10.0.0.1", "1.1.1.1", "::1", "2606:4700::1111"));
    const kept = [
      { address: "1.1.1.1", family: 4 },
      { address: "2606:4700::1111", family: 6 },
    ];
    expect(await lookUp(mixed, true)).toEqual(kept);
    expect(await lookUp(mixed, false)).toBe("1.1.1.1");
  });

  test("a name whose addresses are all private is refused, whatever it resolved to before", async () => {
    const answers = [resolvesTo("1.1.1.1"), resolvesTo("127.0.0.1")];
    const rebinding = new AddressGuard([], (...call) => answers.shift()?.(...call));
    expect(await lookUp(rebinding, false)).toBe("1.1.1.1");
    await expect(lookUp(rebinding, true)).rejects.toMatchObject({ reason: "permission_denied" });
  });

  test("a failed look-up stays what it was", async () => {
    const failing = new AddressGuard([], (_hostname, _options, callback) =>
      callback(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []),
    );
    await expect(lookUp(failing, true)).rejects.toMatchObject({ code: "ENOTFOUND" });
  });
});

describe("look-ups one at a time", () => {
  /** Look-ups that the test ends, each with its own name as the address. */
  function queued() {
    const started: (() => void)[] = [];
    const answers: string[] = [];
    const resolve = oneAtATime((hostname, _options, callback) => {
      started.push(() => callback(null, [{ address: hostname, family: 4 }]));
    });
    const ask = (name: string): void =>
      resolve(name, { all: true }, (error, [found]) => void answers.push(found?.address ?? String(error?.code)));
    return { started, answers, ask };
  }

  test("wait for one another, and each gets its own answer", () => {
    const { started, answers, ask } = queued();
    for (const name of ["a", "b", "c"]) ask(name);
    for (const finished of [["a"], ["a", "b"], ["a", "b", "c"]]) {
      expect(started.length).toBe(1);
      started.shift()?.();
      expect(answers).toEqual(finished);
    }
    ask("d");
    started.shift()?.();
    expect(answers).toEqual(["a", "b", "c", "d"]);
  });

  test("are refused where too many wait", () => {
    const { started, answers, ask } = queued();
    for (let number = 0; number < 258; number++) ask(`${number}`);
    expect(answers).toEqual(["EAI_AGAIN"]);
    while (started.length > 0) started.shift()?.();
    expect(answers.length).toBe(258);
  });
});
