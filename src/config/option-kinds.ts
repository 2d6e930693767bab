import { isIP } from "node:net";
import { resolve } from "node:path";
import { NamePattern } from "../auth/name-pattern.ts";
import { type Cidr, formatCidr, parseCidr } from "../cidr.ts";

/** How the values of an option are written: the text form of the command line, the environment and the file. */
export interface OptionKind<T> {
  /** Shown in `--help` and the README, such as `SIZE`. */
  readonly placeholder: string;
  /** Completes "expected …" in a problem report. */
  readonly expected: string;
  /** @returns undefined where `text` is no such value. */
  parse(text: string): { readonly value: T } | undefined;
  /** A text that `parse` reads back as the same value. */
  format(value: T): string;
}

const KIB = 1024;
/** Largest first, so that formatting finds the shortest exact text. */
const SIZE_UNITS: readonly (readonly [string, number])[] = [
  ["TiB", KIB ** 4],
  ["GiB", KIB ** 3],
  ["MiB", KIB ** 2],
  ["KiB", KIB],
  ["TB", 1e12],
  ["GB", 1e9],
  ["MB", 1e6],
  ["KB", 1e3],
  ["B", 1],
];
const DURATION_UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];
/** A timer holds 2^31-1 ms; what is longer would fire at once. */
const DURATION_MS_MAX = 24 * 86_400_000;

/** A whole number from `min` to `max`. */
export function count(min: number, max: number): OptionKind<number> {
  return {
    placeholder: "N",
    expected: `a whole number from ${min} to ${max}`,
    parse: (text) => (/^\d{1,15}$/.test(text) ? within(Number(text), min, max) : undefined),
    format: String,
  };
}

/** A TCP port; 0 lets the system choose. */
export const port: OptionKind<number> = {
  ...count(0, 65_535),
  placeholder: "PORT",
  expected: "a port from 0 to 65535",
};

/** A share, from 0 for none to 1 for all. */
export const share: OptionKind<number> = {
  placeholder: "SHARE",
  expected: "a number from 0 to 1, such as 0.01",
  parse: (text) => (/^\d(\.\d{1,9})?$/.test(text) ? within(Number(text), 0, 1) : undefined),
  format: String,
};

/** Bytes: a number with a unit such as KiB, MiB, GiB, TiB, or KB, MB, GB, TB, or none. A bare `G` is refused as ambiguous. */
export function size(bytesMin: number, bytesMax = Number.MAX_SAFE_INTEGER): OptionKind<number> {
  const atLeast = bytesMin === 0 ? "" : `, at least ${formatWithUnit(bytesMin, SIZE_UNITS)}`;
  const atMost = bytesMax === Number.MAX_SAFE_INTEGER ? "" : `, at most ${formatWithUnit(bytesMax, SIZE_UNITS)}`;
  return {
    placeholder: "SIZE",
    expected: `a size such as 512MiB or 10GiB${atLeast}${atMost}`,
    parse: (text) => within(parseWithUnit(text, SIZE_UNITS, 1), bytesMin, bytesMax),
    format: (value) => formatWithUnit(value, SIZE_UNITS),
  };
}

/** A size, or `auto`, which is undefined and leaves the choice to the engine. */
export function sizeOrAuto(bytesMin: number): OptionKind<number | undefined> {
  const sized = size(bytesMin);
  return {
    placeholder: "SIZE",
    expected: `"auto" or ${sized.expected}`,
    parse: (text) => (text === "auto" ? { value: undefined } : sized.parse(text)),
    format: (value) => (value === undefined ? "auto" : sized.format(value)),
  };
}

/** Milliseconds, written with a unit: `500ms`, `30s`, `5m`, `3h`, `2d`. */
export function duration(msMin: number): OptionKind<number> {
  return {
    placeholder: "TIME",
    expected: `a duration such as 500ms, 30s or 3h, from ${formatWithUnit(msMin, DURATION_UNITS)} to 24d`,
    parse: (text) => within(text === "0" ? 0 : parseWithUnit(text, DURATION_UNITS, undefined), msMin, DURATION_MS_MAX),
    format: (value) => formatWithUnit(value, DURATION_UNITS),
  };
}

/** One of a fixed set of words. */
export function choice<const Word extends string>(...words: readonly Word[]): OptionKind<Word> {
  return {
    placeholder: words.join("|"),
    expected: `one of ${words.join(", ")}`,
    parse: (text) => {
      const word = words.find((candidate) => candidate === text);
      return word === undefined ? undefined : { value: word };
    },
    format: (value) => value,
  };
}

/** A path; relative ones are taken from the working directory. The value is absolute. */
export const path: OptionKind<string> = {
  placeholder: "PATH",
  expected: "a path",
  parse: (text) => (text === "" || text.includes("\0") ? undefined : { value: resolve(text) }),
  format: (value) => value,
};

/** A path, or nothing, which is undefined. */
export const optionalPath: OptionKind<string | undefined> = {
  ...path,
  parse: (text) => (text === "" ? { value: undefined } : path.parse(text)),
  format: (value) => value ?? "",
};

/** Something of the operator's own, or nothing, which is undefined. */
export const optionalText: OptionKind<string | undefined> = {
  placeholder: "TEXT",
  expected: "a text",
  parse: (text) => ({ value: text === "" ? undefined : text }),
  format: (value) => value ?? "",
};

/** Where a document is. */
export type DocumentPlace =
  | { readonly path: string; readonly url?: never }
  | { readonly url: string; readonly path?: never };

/** A path, or a URL that nobody on the way can answer for; or nothing, which is undefined. */
export const optionalPathOrUrl: OptionKind<DocumentPlace | undefined> = {
  placeholder: "PATH|URL",
  expected: "a path, or a URL with https:// (http:// only on this machine)",
  parse: (text) => {
    if (text === "") return { value: undefined };
    if (/^https?:\/\//i.test(text)) return isTrustedUrl(text) ? { value: { url: text } } : undefined;
    const found = path.parse(text);
    return found === undefined ? undefined : { value: { path: found.value } };
  },
  format: (value) => value?.url ?? value?.path ?? "",
};

function isTrustedUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return protocol === "https:" || ["127.0.0.1", "[::1]", "localhost"].includes(hostname);
}

/** An http or https URL without credentials, or nothing, which is undefined. One without a path gets `defaultPath`. */
export function optionalUrl(defaultPath: string): OptionKind<string | undefined> {
  return {
    placeholder: "URL",
    expected: `an http or https URL such as http://localhost:4318, without credentials`,
    parse: (text) => {
      if (text === "") return { value: undefined };
      const url = URL.parse(text);
      if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "") {
        return undefined;
      }
      if (url.pathname === "/") url.pathname = defaultPath;
      return { value: url.href };
    },
    format: (value) => value ?? "",
  };
}

const HOST_NAME = /^(?!-)[A-Za-z0-9_.-]{1,253}$/;

/** An address or a name to bind; IPv6 with or without brackets. */
export const host: OptionKind<string> = {
  placeholder: "HOST",
  expected: "an IP address or a host name",
  parse: (text) => {
    const bare = text.startsWith("[") && text.endsWith("]") ? text.slice(1, -1) : text;
    return isIP(bare) !== 0 || HOST_NAME.test(bare) ? { value: bare } : undefined;
  },
  format: (value) => value,
};

/** Ranges of addresses with commas between them; may be none. */
export const cidrs: OptionKind<readonly Cidr[]> = {
  placeholder: "CIDR,...",
  expected: "ranges of addresses such as 10.0.0.0/8,fd00::/8",
  parse: (text) => {
    const ranges = text === "" ? [] : text.split(",").map((range) => parseCidr(range.trim()));
    return ranges.includes(undefined) ? undefined : { value: ranges.filter((range) => range !== undefined) };
  },
  format: (value) => value.map(formatCidr).join(","),
};

/** What instances whose names fit may have stored. */
export interface InstanceQuota {
  readonly pattern: NamePattern;
  readonly bytesMax: number;
}

const quotaSize = size(KIB);

/** Patterns of instance names with a size each, and commas between them; may be none. */
export const quotas: OptionKind<readonly InstanceQuota[]> = {
  placeholder: "PATTERN=SIZE,...",
  expected: `patterns of instance names with ${quotaSize.expected} each, such as main=50GiB,branch/*=5GiB`,
  parse: (text) => {
    const found = text === "" ? [] : text.split(",").map((part) => parseQuota(part.trim()));
    return found.includes(undefined) ? undefined : { value: found.filter((quota) => quota !== undefined) };
  },
  format: (value) => value.map(({ pattern, bytesMax }) => `${pattern.text}=${quotaSize.format(bytesMax)}`).join(","),
};

function parseQuota(text: string): InstanceQuota | undefined {
  const at = text.lastIndexOf("=");
  const bytesMax = at === -1 ? undefined : quotaSize.parse(text.slice(at + 1));
  return bytesMax && { pattern: new NamePattern(text.slice(0, at)), bytesMax: bytesMax.value };
}

function within(value: number | undefined, min: number, max: number): { value: number } | undefined {
  return value !== undefined && value >= min && value <= max ? { value } : undefined;
}

function parseWithUnit(
  text: string,
  units: readonly (readonly [string, number])[],
  withoutUnit: number | undefined,
): number | undefined {
  const match = /^(\d{1,16}(?:\.\d{1,6})?) ?([A-Za-z]*)$/.exec(text);
  if (match === null) return undefined;
  const [, digits = "", unit = ""] = match;
  const factor = unit === "" ? withoutUnit : units.find(([name]) => name.toLowerCase() === unit.toLowerCase())?.[1];
  return factor === undefined ? undefined : Math.round(Number(digits) * factor);
}

/** In the largest unit that divides the value, so that nothing is rounded. */
function formatWithUnit(value: number, units: readonly (readonly [string, number])[]): string {
  const unit = units.find(([, factor]) => value !== 0 && value % factor === 0);
  return unit === undefined ? String(value) : `${value / unit[1]}${unit[0]}`;
}
