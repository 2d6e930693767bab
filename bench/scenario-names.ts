/** In the order in which they run. */
export const SCENARIO_NAMES = [
  "replay",
  "uploads",
  "mix",
  "actions",
  "find",
  "find-huge",
  "batches",
  "sizes",
  "fan-in",
  "connections",
  "distance",
  "http",
  "http-blobs",
  "http-slow",
] as const;

export type ScenarioName = (typeof SCENARIO_NAMES)[number];

/** Those that need no more than the cache services of REAPI with their usual limits. */
export const REAPI_SCENARIOS: readonly ScenarioName[] = SCENARIO_NAMES.filter(
  (name) => name !== "find-huge" && !name.startsWith("http"),
);

/** Those of which the reads can be had from files. */
export const FILE_SCENARIOS: readonly ScenarioName[] = ["sizes"];
