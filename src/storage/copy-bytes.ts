/**
 * Copies the first `byteCount` bytes of `source`, as `target.set` would. Where either lies in shared memory, `set` has to
 * move them as if another thread looked on, one by one where the two are not aligned to each other: 9 us for 32 KiB.
 * `fill` is a plain copy: 1 us.
 */
export function copyBytes(source: Uint8Array, target: Buffer, at: number, byteCount = source.byteLength): void {
  // An empty source has nothing to fill with, which `fill` takes for a mistake.
  if (byteCount > 0) target.fill(source, at, at + byteCount);
}
