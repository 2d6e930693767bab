import { type Digest, digestName } from "./digest.ts";

/** The digests whose names are not in `seen` yet, each once; adds them to it. */
export function takeNewDigests(digests: readonly Digest[], seen: Set<string>): Digest[] {
  return digests.filter((digest) => {
    const name = digestName(digest);
    if (seen.has(name)) return false;
    seen.add(name);
    return true;
  });
}
