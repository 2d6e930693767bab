const UNIT_BYTES: Readonly<Record<string, number>> = { "": 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };

/** `128KiB`, `1MiB`, `2GiB`, or a number of bytes. */
export function parseByteSize(text: string): number {
  const [, digits = "", unit = ""] = /^(\d+)(KiB|MiB|GiB)?$/.exec(text) ?? [];
  if (digits === "") throw new RangeError(`expected a size such as 128KiB or 2GiB, got ${JSON.stringify(text)}`);
  return Number(digits) * (UNIT_BYTES[unit] ?? 1);
}
