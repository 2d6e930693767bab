import type { Findings } from "../crash/scenario.ts";
import type { ServerProcess } from "../support/server-process.ts";
import type { AttackProgress } from "./attack-worker.ts";

/** For a machine that is busy with other things, and for connecting: the table has the figures. */
export const GRACE_MS = 15_000;

/** What an attack is carried out on. */
export interface AttackTarget {
  readonly server: ServerProcess;
  readonly seed: string;
  /** Told when the first attacker comes: what the good client sees from then on counts. */
  readonly begin: () => Promise<void>;
  /** Connections that the server has open, without those that were there before the attack. */
  readonly openCount: () => number;
}

/** Something that is done to a server, whoever does it. */
export interface AttackPlan {
  readonly name: string;
  readonly attackerCount: number;
  /** The server's stated deadline, from the moment from which there is no progress. */
  readonly deadlineMs: number;
  /** Resolves when all attackers are cut off, or when it has taken much too long. */
  readonly carryOut: (target: AttackTarget, findings: Findings) => Promise<AttackProgress>;
}
