/** Lower-case tokens (RFC 9113, section 8.2.1), or the known names with a colon. */
const NAME = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
/** No NUL, CR, LF, and no white space at the ends. */
const VALUE = /^(?![ \t])[^\0\r\n]*(?<![ \t])$/;
const PSEUDO_NAMES = new Set([":method", ":scheme", ":path", ":authority"]);
/** Section 8.2.2. */
const CONNECTION_NAMES = new Set(["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"]);

/** Whether these are the fields (name, value, name, value, …) of a request (RFC 9113, sections 8.2 and 8.3.1). */
export function isWellFormedRequest(flat: readonly string[]): boolean {
  const pseudo = new Map<string, string>();
  let pseudoDone = false;
  for (let index = 0; index < flat.length; index += 2) {
    const name = flat[index]!;
    const value = flat[index + 1]!;
    if (!name.startsWith(":")) {
      pseudoDone = true;
      if (!isWellFormedField(name, value)) return false;
      continue;
    }
    if (pseudoDone || !PSEUDO_NAMES.has(name) || pseudo.has(name) || !VALUE.test(value)) return false;
    pseudo.set(name, value);
  }
  return isCompleteRequest(pseudo);
}

/** Whether these may follow a body: no pseudo-header fields (section 8.1). */
export function areWellFormedTrailers(flat: readonly string[]): boolean {
  for (let index = 0; index < flat.length; index += 2) {
    if (!isWellFormedField(flat[index]!, flat[index + 1]!)) return false;
  }
  return true;
}

function isWellFormedField(name: string, value: string): boolean {
  if (!NAME.test(name) || !VALUE.test(value) || CONNECTION_NAMES.has(name)) return false;
  return name !== "te" || value === "trailers";
}

function isCompleteRequest(pseudo: ReadonlyMap<string, string>): boolean {
  const path = pseudo.get(":path");
  if (pseudo.get(":method") === "CONNECT") {
    return path === undefined && !pseudo.has(":scheme") && pseudo.has(":authority");
  }
  return pseudo.has(":method") && pseudo.has(":scheme") && path !== undefined && path !== "";
}

/** The value of a `content-length`, NaN where it is no length. */
export function parseContentLength(text: string): number {
  return /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
}
