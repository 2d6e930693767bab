import { parseDocument } from "yaml";
import { ALL_INSTANCES, type Grant } from "./caller.ts";
import { NamePattern } from "./name-pattern.ts";
import { type Role, ROLES } from "./role.ts";

/** Who has been found to make a request, by the kind of what it has shown. */
export type Identity =
  | { readonly kind: "user" | "token" | "certificate"; readonly name: string }
  | { readonly kind: "jwt"; readonly name: string; readonly claims: Readonly<Record<string, unknown>> };

interface AccessRule {
  readonly matches: (identity: Identity) => boolean;
  readonly grant: Grant;
}

/** Which roles each identity has. */
export interface AccessRules {
  grantsOf(identity: Identity): Grant[];
}

/** The same role in every instance for whoever is known. A JWT alone says little: most issuers have it for everybody. */
export function oneRole(role: Role): AccessRules {
  return { grantsOf: ({ kind }) => (kind === "jwt" ? [] : [{ role, instances: [ALL_INSTANCES] }]) };
}

const NAME_KEYS = ["user", "token", "certificate"] as const;
const KEYS: readonly string[] = [...NAME_KEYS, "jwt", "role", "instances"];

/**
 * Reads a YAML list such as
 *
 *     - { user: "*", role: reader }
 *     - { token: ci, role: ac-writer, instances: [main, "team/*"] }
 *     - { jwt: { repository: acme/app, ref: refs/heads/main }, role: ac-writer }
 *
 * Whoever matches several rules has the roles of all of them; who matches none has none.
 * @throws {Error} with every problem found, a line each.
 */
export function parseAccessRules(text: string): AccessRules {
  const document = parseDocument(text);
  const [firstError] = document.errors;
  if (firstError !== undefined) throw new Error(`--auth-rules is not YAML: ${firstError.message.trimEnd()}`);
  const content: unknown = document.toJS() ?? [];
  if (!Array.isArray(content)) throw new Error("--auth-rules: expected a list of rules");
  const problems: string[] = [];
  const rules = content.map((entry: unknown, index) =>
    parseRule(entry, (problem) => problems.push(`--auth-rules, rule ${index + 1}: ${problem}`)),
  );
  if (problems.length > 0) throw new Error(problems.join("\n  "));
  return {
    grantsOf: (identity) => rules.filter((rule) => rule.matches(identity)).map(({ grant }) => grant),
  };
}

function parseRule(entry: unknown, report: (problem: string) => void): AccessRule {
  const fields = isMapping(entry) ? entry : {};
  for (const key of Object.keys(fields)) {
    if (!KEYS.includes(key)) report(`unknown key ${JSON.stringify(key)}`);
  }
  return {
    matches: parseWho(fields, report),
    grant: { role: parseRole(fields["role"], report), instances: parseInstances(fields["instances"], report) },
  };
}

function parseWho(fields: Record<string, unknown>, report: (problem: string) => void): AccessRule["matches"] {
  const given = [...NAME_KEYS, "jwt" as const].filter((key) => fields[key] !== undefined);
  const [kind] = given;
  if (kind === undefined || given.length > 1) {
    report("expected one of user, token, certificate and jwt");
    return () => false;
  }
  if (kind === "jwt") return parseClaims(fields["jwt"], report);
  const pattern = parsePattern(kind, fields[kind], report);
  return (identity) => identity.kind === kind && pattern.matches(identity.name);
}

function parseClaims(value: unknown, report: (problem: string) => void): AccessRule["matches"] {
  if (!isMapping(value) || Object.keys(value).length === 0) {
    report("jwt: expected claims and what they have to be, such as { sub: ci }");
    return () => false;
  }
  const patterns = Object.entries(value).map(
    ([claim, pattern]) => [claim, parsePattern(`jwt.${claim}`, pattern, report)] as const,
  );
  return (identity) =>
    identity.kind === "jwt" && patterns.every(([claim, pattern]) => isMet(identity.claims[claim], pattern));
}

/** A claim may be a list, such as groups: then one of them has to match. */
function isMet(claim: unknown, pattern: NamePattern): boolean {
  const values: unknown[] = Array.isArray(claim) ? claim : [claim];
  return values.some((value) => typeof value === "string" && pattern.matches(value));
}

function parseRole(value: unknown, report: (problem: string) => void): Role {
  const role = ROLES.find((candidate) => candidate === value);
  if (role === undefined) report(`role: expected one of ${ROLES.join(", ")}, got ${JSON.stringify(value)}`);
  return role ?? "none";
}

function parseInstances(value: unknown, report: (problem: string) => void): NamePattern[] {
  if (value === undefined) return [ALL_INSTANCES];
  const patterns: unknown[] = Array.isArray(value) ? value : [value];
  return patterns.map((pattern) => parsePattern("instances", pattern, report));
}

function parsePattern(field: string, value: unknown, report: (problem: string) => void): NamePattern {
  if (typeof value === "string") return new NamePattern(value);
  report(`${field}: expected a text, got ${JSON.stringify(value)}`);
  return new NamePattern("");
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
