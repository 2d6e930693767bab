import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // A process for each file: tests that start workers or servers cannot disturb each other through globals.
    pool: "forks",
    // For threads that tests start by themselves, see src/engine-flags.ts.
    execArgv: ["--import", new URL("src/engine-flags.ts", import.meta.url).href],
    // Guards against hangs only; no test measures time. Two cores may be shared by several files at once.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 20_000,
  },
});
