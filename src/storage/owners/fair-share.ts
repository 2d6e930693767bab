/** An owner that is in use, and what its records take on disk. */
export interface OwnedBytes {
  readonly owner: number;
  readonly bytes: number;
}

/**
 * So much of the store is shared out. What is left is what room is made of: however the shares are used, a round of the
 * segments finds so much that is nobody's share.
 */
const SHARED_OUT = 3 / 4;

/**
 * Whose records are kept when segments retire: of those who have no more than an even share.
 *
 *     shares    ├──── quiet ────┤├──── noisy ────┤├──── third ────┤   3/4 of the store
 *     holds     ├───┤            ├─────────────────────────┤├─────┤
 *               is kept          its oldest records go      is kept
 *
 * Where all of them together have no more than what is shared out, everybody's are: what is in the way then has been
 * dropped or replaced, and whoever keeps within a quota takes nothing from others.
 *
 * One owner alone has nobody to be protected from: its oldest records make room for its newest, as without shares.
 * @param owners All that are in use.
 */
export function favouredOwners(owners: readonly OwnedBytes[], budgetBytes: number): number[] {
  if (owners.length < 2) return [];
  const sharedBytes = budgetBytes * SHARED_OUT;
  const totalBytes = owners.reduce((sum, { bytes }) => sum + bytes, 0);
  const bytesMax = totalBytes <= sharedBytes ? sharedBytes : sharedBytes / owners.length;
  return owners.filter(({ bytes }) => bytes <= bytesMax).map(({ owner }) => owner);
}
