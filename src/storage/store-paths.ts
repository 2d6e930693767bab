import { join } from "node:path";

/**
 * A data directory.
 *
 *   lock        held by the running process
 *   segments/   XXXXXXXX.seg, append-only, the truth
 *   checkpoint/ the index as it was some time ago, a file per shard; derived, may be deleted
 *   staging/    uploads in progress; at every start emptied of those that nobody can go on with
 *   instances.json  the names of those on whose account entries are; only where accounts are kept
 */
export class StorePaths {
  readonly root: string;
  readonly segments: string;
  readonly checkpoint: string;
  readonly staging: string;
  readonly instances: string;

  constructor(root: string) {
    this.root = root;
    this.segments = join(root, "segments");
    this.checkpoint = join(root, "checkpoint");
    this.staging = join(root, "staging");
    this.instances = join(root, "instances.json");
  }
}
