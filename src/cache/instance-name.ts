import { CacheError } from "./cache-error.ts";

/** Words that begin the rest of a resource name: no segment of an instance name may be one. */
export const RESERVED_SEGMENTS: ReadonlySet<string> = new Set([
  "blobs",
  "uploads",
  "actions",
  "actionResults",
  "operations",
  "capabilities",
  "compressed-blobs",
]);

/**
 * Checks the `instance_name` field of a request by the rule for the instance in a resource name.
 * @throws {CacheError} invalid_argument for an empty segment or a reserved word.
 */
export function checkInstanceName(instanceName: string): string {
  if (instanceName === "") return instanceName;
  for (const segment of instanceName.split("/")) {
    if (segment !== "" && !RESERVED_SEGMENTS.has(segment)) continue;
    const what = segment === "" ? "an empty segment" : `the reserved word ${segment}`;
    const shown = JSON.stringify(instanceName.length > 200 ? `${instanceName.slice(0, 200)}...` : instanceName);
    throw new CacheError("invalid_argument", `instance_name: ${what} in ${shown}`);
  }
  return instanceName;
}
