/** The static table (RFC 7541, appendix A); the first entry has index 1. */
const ENTRIES = `
:authority
:method GET
:method POST
:path /
:path /index.html
:scheme http
:scheme https
:status 200
:status 204
:status 206
:status 304
:status 400
:status 404
:status 500
accept-charset
accept-encoding gzip, deflate
accept-language
accept-ranges
accept
access-control-allow-origin
age
allow
authorization
cache-control
content-disposition
content-encoding
content-language
content-length
content-location
content-range
content-type
cookie
date
etag
expect
expires
from
host
if-match
if-modified-since
if-none-match
if-range
if-unmodified-since
last-modified
link
location
max-forwards
proxy-authenticate
proxy-authorization
range
referer
refresh
retry-after
server
set-cookie
strict-transport-security
transfer-encoding
user-agent
vary
via
www-authenticate
`
  .trim()
  .split("\n")
  .map((line) => {
    const space = line.indexOf(" ");
    return space < 0 ? ([line, ""] as const) : ([line.slice(0, space), line.slice(space + 1)] as const);
  });

export const STATIC_ENTRY_COUNT = ENTRIES.length;
/** By index; index 0 is unused. */
export const STATIC_NAMES: readonly string[] = ["", ...ENTRIES.map(([name]) => name)];
export const STATIC_VALUES: readonly string[] = ["", ...ENTRIES.map(([, value]) => value)];

/** Index of the first entry with this name, 0 where there is none. */
export function staticNameIndex(name: string): number {
  return Math.max(0, STATIC_NAMES.indexOf(name, 1));
}

/** Index of the entry with this name and value, 0 where there is none. */
export function staticFieldIndex(name: string, value: string): number {
  return Math.max(
    0,
    STATIC_NAMES.findIndex((candidate, index) => index > 0 && candidate === name && STATIC_VALUES[index] === value),
  );
}
