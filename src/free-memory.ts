/**
 * Gives back the memory of bytes that nobody looks at any more, at once: whoever needs memory next takes it while it is
 * warm, and it does not wait for the garbage collector, which counts 64 MiB of it before it begins. Bytes that have their
 * memory from others, or share it, keep it.
 */
export function freeMemory({ buffer, byteLength }: Uint8Array): void {
  if (buffer.byteLength === byteLength) (buffer as ArrayBuffer).transfer(0);
}
