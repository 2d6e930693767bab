import { crashCycles } from "./crash-cycles.ts";
import type { CrashSuite } from "./crash-suite.ts";

/** HAZARDS H24: SIGTERM at a random moment, `cycles` times; the server has to exit 0 within 30 s each time. */
export const sigtermSuite: CrashSuite = {
  title: "sigterm: SIGTERM during uploads, restart, read back",
  columns: ["ended ms", "acked", "unanswered", "whole", "restart ms", "read back", "actions"],
  programs: [],
  mounts: false,
  cycles: { short: 10, long: 200 },
  async *run(options) {
    for await (const report of crashCycles({ ...options, end: "stop" })) {
      const { cycle, uploads, killedAfterMs, restartMs, verified, problems } = report;
      const sent = [uploads.acknowledged.length, uploads.unanswered.length, verified.unansweredButWhole];
      const read = [verified.blobsVerified, verified.actionsVerified];
      yield { name: `cycle ${cycle}`, figures: [killedAfterMs, ...sent, restartMs, ...read], problems };
    }
  },
};
