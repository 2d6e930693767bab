import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * What is wrong with the data directory of a server that has just started and is idle: staging holds nothing but
 * uploads that a client may go on with, nothing is half written, and the ledger counts at least what the files take (I7).
 */
export async function directoryProblems(directory: string, endpoint: string): Promise<string[]> {
  const problems: string[] = [];
  const unfinished = readdirSync(join(directory, "checkpoint")).filter((name) => name.endsWith(".new"));
  if (unfinished.length > 0) problems.push(`LEFT in checkpoint: ${unfinished.join(", ")}`);
  const onDisk = ["segments", "checkpoint", "staging"].reduce((sum, name) => sum + bytesIn(join(directory, name)), 0);
  const status = await fetch(`http://${endpoint}/status`);
  const { engine } = (await status.json()) as { engine: { bytesUsed: number; leftUploads: number } };
  const { bytesUsed, leftUploads } = engine;
  const staged = readdirSync(join(directory, "staging"));
  if (staged.length !== leftUploads)
    problems.push(`LEFT in staging: ${staged.join(", ")}, of which ${leftUploads} are known`);
  if (onDisk > bytesUsed) problems.push(`LEDGER counts ${bytesUsed} bytes where files hold ${onDisk}`);
  return problems;
}

function bytesIn(directory: string): number {
  return readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}
