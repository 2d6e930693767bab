import { crashCycles } from "./crash-cycles.ts";
import type { CrashSuite } from "./crash-suite.ts";

/** SIGKILL at a random moment, `cycles` times. */
export const killSuite: CrashSuite = {
  title: "kill: kill -9 during uploads, restart, read back",
  columns: ["killed ms", "acked", "unanswered", "whole", "restart ms", "read back", "actions"],
  programs: [],
  mounts: false,
  cycles: { short: 10, long: 50 },
  async *run(options) {
    for await (const { cycle, uploads, killedAfterMs, restartMs, verified, problems } of crashCycles(options)) {
      const sent = [uploads.acknowledged.length, uploads.unanswered.length, verified.unansweredButWhole];
      const read = [verified.blobsVerified, verified.actionsVerified];
      yield { name: `cycle ${cycle}`, figures: [killedAfterMs, ...sent, restartMs, ...read], problems };
    }
  },
};
