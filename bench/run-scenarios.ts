import { formatRow } from "./bench-report.ts";
import type { BenchOptions, BenchRow } from "./bench-options.ts";
import type { ScenarioName } from "./scenario-names.ts";
import { SCENARIOS } from "./scenarios.ts";
import type { System } from "./systems/system.ts";

/** A peer that did not do what was asked of it. */
export interface PeerFailure {
  readonly scenario: ScenarioName;
  readonly system: string;
  readonly reason: string;
}

export interface ScenarioRuns {
  readonly rows: BenchRow[];
  readonly failures: PeerFailure[];
}

const REASON_CHARACTERS_MAX = 200;

/**
 * Each scenario as often as the options say, the systems in turns: A B A B. Prints rows as they come.
 * @throws where the first system fails; what a peer fails at is written down instead.
 */
export async function runScenarios(
  names: readonly ScenarioName[],
  systems: readonly System[],
  options: BenchOptions,
): Promise<ScenarioRuns> {
  const rows: BenchRow[] = [];
  const failures: PeerFailure[] = [];
  const hasFailed = (name: ScenarioName, system: System): boolean =>
    failures.some(({ scenario, system: failed }) => scenario === name && failed === system.name);
  for (const name of names) {
    for (let run = 0; run < options.runs; run++) {
      for (const system of systems) {
        if (!system.scenarios.includes(name) || hasFailed(name, system)) continue;
        try {
          await SCENARIOS[name]({ ...options, system }, (row) => {
            rows.push(row);
            console.log(formatRow(row));
          });
        } catch (error) {
          if (system === systems[0]) throw error;
          const reason = String(error).slice(0, REASON_CHARACTERS_MAX);
          failures.push({ scenario: name, system: system.name, reason });
          console.log(`${name}: ${system.name} failed: ${reason}`);
        }
      }
    }
  }
  return { rows, failures };
}
