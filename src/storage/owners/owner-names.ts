import { dirname } from "node:path";
import { errorCode, type FileSystem, readFully, removeIfThere, removeQuietly, writeFully } from "../file-system.ts";

/** Who stands behind a number, and when it was in use for the last time. */
export interface NamedOwner {
  readonly owner: number;
  readonly name: string;
  readonly lastUsedAtMs: number;
}

/**
 * The names of owners on disk, as JSON for whoever wants to look. Records say numbers only; where the file is lost or
 * lags behind, what they hold stays on its account, which then has no name until the records are gone.
 *
 *   { "version": 1, "instances": [{ "number": 1, "name": "main", "lastUsedAt": "2026-01-31T12:00:00.000Z" }] }
 */
const VERSION = 1;

export function encodeOwnerNames(owners: readonly NamedOwner[]): Buffer {
  const instances = owners.map(({ owner, name, lastUsedAtMs }) => ({
    number: owner,
    name,
    lastUsedAt: new Date(lastUsedAtMs).toISOString(),
  }));
  return Buffer.from(`${JSON.stringify({ version: VERSION, instances }, undefined, 1)}\n`);
}

/** @returns undefined where it is not what `encodeOwnerNames` gives. */
export function decodeOwnerNames(bytes: Buffer): NamedOwner[] | undefined {
  let content: unknown;
  try {
    content = JSON.parse(bytes.toString());
  } catch {
    return undefined;
  }
  if (!isRecord(content) || content["version"] !== VERSION || !Array.isArray(content["instances"])) return undefined;
  const owners = content["instances"].map(decodeOwner);
  return owners.includes(undefined) ? undefined : owners.filter((owner) => owner !== undefined);
}

function decodeOwner(row: unknown): NamedOwner | undefined {
  if (!isRecord(row)) return undefined;
  const { number: owner, name, lastUsedAt } = row;
  if (typeof owner !== "number" || !Number.isSafeInteger(owner) || owner < 1) return undefined;
  if (typeof name !== "string" || typeof lastUsedAt !== "string") return undefined;
  const lastUsedAtMs = Date.parse(lastUsedAt);
  return Number.isNaN(lastUsedAtMs) ? undefined : { owner, name, lastUsedAtMs };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** @returns undefined where there is no file. @throws where it cannot be read. */
export function readOwnerNames(fileSystem: FileSystem, path: string): Buffer | undefined {
  // What a kill has left half written is not on the ledger.
  removeQuietly(fileSystem, temporaryPath(path));
  let fd: number;
  try {
    fd = fileSystem.open(path, "read");
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  try {
    const bytes = Buffer.alloc(fileSystem.sizeOf(fd));
    return bytes.subarray(0, readFully(fileSystem, fd, bytes, 0));
  } finally {
    fileSystem.close(fd);
  }
}

const temporaryPath = (path: string): string => `${path}.new`;

/** Puts a file in the place of the one before, whole or not at all. */
export function writeOwnerNames(fileSystem: FileSystem, path: string, bytes: Buffer): void {
  const temporary = temporaryPath(path);
  removeIfThere(fileSystem, temporary);
  const fd = fileSystem.open(temporary, "create");
  try {
    writeFully(fileSystem, fd, [bytes], 0);
    fileSystem.syncData(fd);
    fileSystem.rename(temporary, path);
  } catch (error) {
    removeQuietly(fileSystem, temporary);
    throw error;
  } finally {
    fileSystem.close(fd);
  }
  try {
    fileSystem.syncDirectory(dirname(path));
  } catch {
    // After a power cut the old one may be found: then accounts lack their names, and nothing else.
  }
}
