/** What a caller may do in an instance; each role includes those before it. */
export const ROLES = ["none", "reader", "cas-writer", "ac-writer", "admin"] as const;
export type Role = (typeof ROLES)[number];

export function roleIncludes(held: Role, needed: Role): boolean {
  return ROLES.indexOf(held) >= ROLES.indexOf(needed);
}

/** The one that may do more. */
export function higherRole(one: Role, other: Role): Role {
  return roleIncludes(one, other) ? one : other;
}
