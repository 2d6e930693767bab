/** What runs did: so that a suite can show that it tried what it says. */
export interface RunFigures {
  commands: number;
  acknowledged: number;
  failedUploads: number;
  readsChecked: number;
  lives: number;
  powerCuts: number;
  failedStarts: number;
  faults: number;
  failedSyncs: number;
  shardDeaths: number;
  damagedBytes: number;
  removedSegments: number;
  leasesBroken: number;
  leasesHeld: number;
  /** Looks at an engine that had kept something for a share. */
  favoured: number;
  cleanCloses: number;
}

export function noFigures(): RunFigures {
  return {
    commands: 0,
    acknowledged: 0,
    failedUploads: 0,
    readsChecked: 0,
    lives: 0,
    powerCuts: 0,
    failedStarts: 0,
    faults: 0,
    failedSyncs: 0,
    shardDeaths: 0,
    damagedBytes: 0,
    removedSegments: 0,
    leasesBroken: 0,
    leasesHeld: 0,
    favoured: 0,
    cleanCloses: 0,
  };
}

/** Adds `figures` to `sum`. */
export function addFigures(sum: RunFigures, figures: RunFigures): void {
  for (const name of Object.keys(sum) as (keyof RunFigures)[]) sum[name] += figures[name];
}
