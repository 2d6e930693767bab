import type { RequiredProgram } from "../support/debian-packages.ts";

export interface SuiteOptions {
  /** How often the suite does what it does; each suite says what that is. */
  readonly cycles: number;
  readonly writers: number;
  readonly seed: string;
  /** Of the suite `kill`. */
  readonly listeners?: number;
}

/** One row of a suite's table. A case without problems has passed. */
export interface CaseReport {
  readonly name: string;
  /** In the order of the suite's columns. */
  readonly figures: readonly (number | string)[];
  readonly problems: readonly string[];
}

/** A way to hurt a real server process, and the checks of what it promises nevertheless. */
export interface CrashSuite {
  readonly title: string;
  /** Headings of the figures. */
  readonly columns: readonly string[];
  readonly programs: readonly RequiredProgram[];
  /** Whether it mounts file systems: then it runs as root in a mount namespace that ends with it. */
  readonly mounts: boolean;
  /** `cycles` of the form for CI and of the long one. */
  readonly cycles: { readonly short: number; readonly long: number };
  run(options: SuiteOptions): AsyncIterable<CaseReport>;
}
