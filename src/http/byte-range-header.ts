import type { IncomingHttpHeaders } from "node:http";
import { CacheError } from "../cache/cache-error.ts";
import type { ByteRange } from "../cache/entry-store.ts";

/** A part that is known to be there, in bytes. */
export interface ResolvedRange extends ByteRange {
  readonly limit: number;
}

const ONE_RANGE = /^bytes=(\d*)-(\d*)$/;

/**
 * What a GET asks for by `Range` (RFC 9110, section 14), of a value of `sizeBytes`.
 * @returns undefined for all of it: where nothing is asked for, where it is not understood, where it is several ranges,
 * which need not be given, and where it depends on a validator, which values here do not have.
 * @throws {CacheError} out_of_range where not a byte of it is there.
 */
export function requestedRange(headers: IncomingHttpHeaders, sizeBytes: number): ResolvedRange | undefined {
  if (headers.range === undefined || headers["if-range"] !== undefined) return undefined;
  const [, first = "", last = ""] = ONE_RANGE.exec(headers.range) ?? [];
  if (first === "" && last === "") return undefined;
  if (first !== "" && last !== "" && Number(first) > Number(last)) return undefined;
  const offset = first === "" ? Math.max(0, sizeBytes - Number(last)) : Number(first);
  const end = first === "" || last === "" ? sizeBytes : Math.min(sizeBytes, Number(last) + 1);
  if (offset < end) return { offset, limit: end - offset };
  throw new CacheError("out_of_range", `range: expected a part of ${sizeBytes} bytes, got ${headers.range}`);
}
