import process from "node:process";
import type { VerifyProgress, VerifySummary } from "./storage/verify-store.ts";

const BAR_WIDTH = 30;
const MIB = 1024 * 1024;

/** A bar on stderr, where that is a terminal. */
export function showProgress({ segmentsDone, segmentCount, byteCount }: VerifyProgress): void {
  if (!process.stderr.isTTY) return;
  const filled = segmentCount === 0 ? BAR_WIDTH : Math.round((segmentsDone / segmentCount) * BAR_WIDTH);
  const bar = "#".repeat(filled).padEnd(BAR_WIDTH, ".");
  const end = segmentsDone === segmentCount ? "\n" : "";
  process.stderr.write(
    `\r[${bar}] ${segmentsDone}/${segmentCount} segments, ${(byteCount / MIB).toFixed(0)} MiB${end}`,
  );
}

/** A line for each damaged place, then a line that sums up. */
export function formatVerifySummary(directory: string, summary: VerifySummary): string {
  const { segmentCount, recordCount, byteCount, unsealedCount, damage } = summary;
  const lines = damage.map(({ segmentId, offset, key, reason }) => {
    const place = offset === undefined ? "" : ` offset ${offset}`;
    return `damaged: segment ${segmentId}${place}${key === undefined ? "" : ` key ${key}`}: ${reason}\n`;
  });
  const unsealed = unsealedCount === 0 ? "" : `, ${unsealedCount} not sealed (the server did not close cleanly)`;
  return `${lines.join("")}${directory}: ${segmentCount} segments${unsealed}, ${recordCount} records, ${byteCount} bytes, ${damage.length} damaged\n`;
}
