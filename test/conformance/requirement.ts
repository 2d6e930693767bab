import { status } from "@grpc/grpc-js";
import { described, isServiceError, Mismatch, outcome } from "./expectations.ts";
import type { Target } from "./target.ts";

/** MUST: the API says so, or no client could work otherwise. SHOULD: the API recommends it, or leaves it open. */
export type Level = "MUST" | "SHOULD";

/** One row of the table. */
export interface Requirement {
  /** `area.rule`, unique. */
  readonly id: string;
  readonly level: Level;
  readonly what: string;
  /** The message or rpc whose comment states it. */
  readonly source: string;
  /** Whether the server says that it has this at all. Default: everybody has. */
  readonly offered?: (target: Target) => boolean;
  /** @throws {Mismatch} where the server does otherwise. */
  readonly check: (target: Target) => Promise<void>;
}

export type Verdict = "pass" | "FAIL" | "not offered";

export interface Finding {
  readonly id: string;
  readonly level: Level;
  readonly what: string;
  readonly source: string;
  readonly verdict: Verdict;
  /** What was expected and what came instead; empty unless it failed. */
  readonly detail: string;
}

export async function examine(requirement: Requirement, target: Target): Promise<Finding> {
  const { id, level, what, source, offered, check } = requirement;
  const row = { id, level, what, source };
  if (offered !== undefined && !offered(target)) return { ...row, verdict: "not offered", detail: "" };
  try {
    await check(target);
    return { ...row, verdict: "pass", detail: "" };
  } catch (error) {
    return { ...row, verdict: "FAIL", detail: await reasonOf(error) };
  }
}

async function reasonOf(error: unknown): Promise<string> {
  if (error instanceof Mismatch) return error.message;
  // A call that had to succeed did not.
  if (isServiceError(error))
    return `expected ${status[status.OK]}, got ${described(await outcome(Promise.reject(error)))}`;
  return error instanceof Error ? error.message : String(error);
}
