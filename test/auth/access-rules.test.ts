import { expect, test } from "vitest";
import { type Identity, oneRole, parseAccessRules } from "../../src/auth/access-rules.ts";
import { Caller } from "../../src/auth/caller.ts";
import type { Role } from "../../src/auth/role.ts";

function may(rules: string, identity: Identity, role: Role, instanceName: string | undefined): boolean {
  return new Caller({ grants: parseAccessRules(rules).grantsOf(identity) }).has(role, instanceName);
}

const ci: Identity = { kind: "token", name: "ci" };

test("whoever matches several rules has the roles of all of them, each in its instances", () => {
  const rules = `
    - { token: "*", role: reader }
    - { token: ci, role: ac-writer, instances: [main, "team/*"] }
    - { token: ci, role: cas-writer, instances: "" }`;
  expect(may(rules, ci, "reader", "elsewhere")).toBe(true);
  expect(may(rules, ci, "ac-writer", "team/a")).toBe(true);
  expect(may(rules, ci, "ac-writer", "elsewhere")).toBe(false);
  expect([may(rules, ci, "cas-writer", ""), may(rules, ci, "ac-writer", "")]).toEqual([true, false]);
  expect(may(rules, ci, "ac-writer", undefined)).toBe(true);
  expect(may(rules, ci, "admin", undefined)).toBe(false);
});

test("who matches no rule may do nothing, and a name counts only for its own kind", () => {
  const rules = "- { token: ci, role: admin }";
  for (const kind of ["user", "certificate"] as const) {
    expect(may(rules, { kind, name: "ci" }, "reader", "")).toBe(false);
  }
  expect(may(rules, { kind: "jwt", name: "ci", claims: { sub: "ci" } }, "reader", "")).toBe(false);
  expect(may("", ci, "reader", "")).toBe(false);
});

test("of a JWT every claim named has to match, one of a list being enough", () => {
  const rules = '- { jwt: { repository: "acme/*", groups: dev }, role: reader }';
  const jwt = (claims: Record<string, unknown>): Identity => ({ kind: "jwt", name: "", claims });
  expect(may(rules, jwt({ repository: "acme/app", groups: ["ops", "dev"] }), "reader", "")).toBe(true);
  expect(may(rules, jwt({ repository: "acme/app", groups: "dev" }), "reader", "")).toBe(true);
  expect(may(rules, jwt({ repository: "acme/app", groups: ["ops"] }), "reader", "")).toBe(false);
  expect(may(rules, jwt({ repository: 7, groups: "dev" }), "reader", "")).toBe(false);
  expect(may(rules, jwt({ groups: "dev" }), "reader", "")).toBe(false);
});

test("without rules everybody who is known has one role, but for JWTs", () => {
  const rules = oneRole("reader");
  expect(new Caller({ grants: rules.grantsOf(ci) }).has("reader", "any")).toBe(true);
  expect(rules.grantsOf({ kind: "jwt", name: "", claims: {} })).toEqual([]);
});

test("every problem is reported with the number of its rule", () => {
  const rules = `
    - { token: ci, user: ci, role: reader }
    - { token: ci, role: writer, instance: main }
    - { jwt: {}, role: reader }
    - { user: 7, role: reader, instances: [1] }
    - text`;
  expect(() => parseAccessRules(rules)).toThrow(
    [
      "--auth-rules, rule 1: expected one of user, token, certificate and jwt",
      '--auth-rules, rule 2: unknown key "instance"',
      '--auth-rules, rule 2: role: expected one of none, reader, cas-writer, ac-writer, admin, got "writer"',
      "--auth-rules, rule 3: jwt: expected claims and what they have to be, such as { sub: ci }",
      "--auth-rules, rule 4: user: expected a text, got 7",
      "--auth-rules, rule 4: instances: expected a text, got 1",
      "--auth-rules, rule 5: expected one of user, token, certificate and jwt",
      "--auth-rules, rule 5: role: expected one of none, reader, cas-writer, ac-writer, admin, got undefined",
    ].join("\n  "),
  );
  expect(() => parseAccessRules("a: b")).toThrow("expected a list of rules");
  expect(() => parseAccessRules("- {")).toThrow("is not YAML");
});
