import { NamePattern } from "./name-pattern.ts";
import { higherRole, type Role, roleIncludes } from "./role.ts";

/** A role in the instances whose names match. */
export interface Grant {
  readonly role: Role;
  readonly instances: readonly NamePattern[];
}

/** How long a caller may be taken for what it was found to be. */
export interface Validity {
  readonly isOver: boolean;
}

export interface CallerOptions {
  /** For logs; undefined: it has shown nothing. */
  readonly name?: string;
  readonly grants: readonly Grant[];
  /** Default: always. */
  readonly validity?: Validity;
}

export const ALL_INSTANCES = new NamePattern("*");
const ALWAYS: Validity = { isOver: false };

/** Who makes a request, and what it may do. */
export class Caller {
  readonly name: string | undefined;
  readonly #validity: Validity;
  /** In every instance. */
  readonly #roleEverywhere: Role;
  readonly #elsewhere: readonly Grant[];

  constructor({ name, grants, validity = ALWAYS }: CallerOptions) {
    const isEverywhere = ({ instances }: Grant): boolean => instances.some(({ matchesAll }) => matchesAll);
    this.name = name;
    this.#validity = validity;
    this.#roleEverywhere = grants
      .filter(isEverywhere)
      .reduce<Role>((role, grant) => higherRole(role, grant.role), "none");
    this.#elsewhere = grants.filter((grant) => !isEverywhere(grant));
  }

  /** Whether it need not show its credentials again. */
  get isCurrent(): boolean {
    return !this.#validity.isOver;
  }

  /** @param instanceName undefined: what concerns no instance, for which a role in any of them is enough. */
  has(role: Role, instanceName: string | undefined): boolean {
    if (roleIncludes(this.#roleEverywhere, role)) return true;
    return this.#elsewhere.some(
      (grant) =>
        roleIncludes(grant.role, role) &&
        (instanceName === undefined || grant.instances.some((pattern) => pattern.matches(instanceName))),
    );
  }
}

/** Any caller, where nobody has to show anything. */
export const ANYBODY = new Caller({ grants: [{ role: "admin", instances: [ALL_INSTANCES] }] });
