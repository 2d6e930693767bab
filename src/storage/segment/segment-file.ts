import { join } from "node:path";

const NAME = /^([0-9a-f]{8})\.seg$/;

/** Segments are named by their id alone: no client string ever becomes a path (HAZARDS H18). */
function segmentFileName(segmentId: number): string {
  return `${segmentId.toString(16).padStart(8, "0")}.seg`;
}

export function segmentPath(segmentsDirectory: string, segmentId: number): string {
  return join(segmentsDirectory, segmentFileName(segmentId));
}

/** @returns the id, or undefined for a foreign file. */
export function segmentIdOfFileName(name: string): number | undefined {
  const hex = NAME.exec(name)?.[1];
  return hex === undefined ? undefined : Number.parseInt(hex, 16);
}
