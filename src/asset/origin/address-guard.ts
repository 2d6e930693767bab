import { type LookupAddress, lookup } from "node:dns";
import { isIP, type LookupFunction } from "node:net";
import { AddressRanges, type Cidr, parseCidr } from "../../cidr.ts";
import { AssetFailure } from "../asset.ts";

/**
 * What a client must not reach through this server: this machine, its networks, and addresses that lead to them by
 * another name. From the registries of special-purpose addresses (RFC 6890 and its updates).
 */
const SPECIAL_RANGES = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  // Multicast, reserved, broadcast.
  "224.0.0.0/3",
  // Loopback, unspecified, IPv4-compatible; NAT64, discard.
  "::/96",
  "64:ff9b::/96",
  "64:ff9b:1::/48",
  "100::/64",
  // Teredo and others that carry IPv4 addresses or are not routed; documentation; 6to4.
  "2001::/23",
  "2001:db8::/32",
  "2002::/16",
  "3fff::/20",
  "5f00::/16",
  // Unique local, link-local, site-local, multicast.
  "fc00::/7",
  "fe80::/10",
  "fec0::/10",
  "ff00::/8",
];

/** Finds all addresses of a name, as `dns.lookup` with `all`. */
export type Resolve = (
  hostname: string,
  options: { all: true; family?: number | "IPv4" | "IPv6" | undefined; hints?: number | undefined },
  callback: (error: NodeJS.ErrnoException | null, addresses: LookupAddress[]) => void,
) => void;

/**
 * Decides which addresses origins may have. It stands in the name look-up of the connection itself: what is checked
 * is what is connected to, so a name that resolves to another address the second time gains nothing.
 */
export class AddressGuard {
  readonly #special = new AddressRanges(
    SPECIAL_RANGES.map((range) => parseCidr(range)).filter((cidr) => cidr !== undefined),
  );
  readonly #allowed: AddressRanges;
  readonly #resolve: Resolve;

  /** @param allowed ranges that are fine although they are special. */
  constructor(allowed: readonly Cidr[], resolve: Resolve = oneAtATime(lookup)) {
    this.#allowed = new AddressRanges(allowed);
    this.#resolve = resolve;
  }

  allows(address: string): boolean {
    return this.#allowed.has(address) || !this.#special.has(address);
  }

  /**
   * For hosts that are addresses: those are not looked up.
   * @param hostname as in a URL, with brackets around an IPv6 address.
   * @throws {AssetFailure} permission_denied
   */
  checkLiteral(hostname: string): void {
    const bare = hostname.replace(/^\[(.*)\]$/, "$1");
    if (isIP(bare) !== 0 && !this.allows(bare)) throw refused(hostname);
  }

  /** For `net.connect`. Fails where a name has addresses, none of which is allowed. */
  readonly lookup: LookupFunction = (hostname, options, callback) => {
    const { family, hints } = options;
    this.#resolve(hostname, { all: true, family, hints }, (error, addresses) => {
      if (error !== null) return callback(error, []);
      const allowed = addresses.filter(({ address }) => this.allows(address));
      const [first] = allowed;
      if (first === undefined) return callback(refused(hostname), []);
      if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}

/** Further look-ups fail as if the name server were busy. */
const WAITING_MAX = 256;

/**
 * getaddrinfo holds a thread of the pool that segments are read with for as long as a name server takes to answer: one
 * of them at the most.
 */
export function oneAtATime(resolve: Resolve): Resolve {
  const waiting: (() => void)[] = [];
  let isBusy = false;
  const startNext = (): void => {
    const start = waiting.shift();
    isBusy = start !== undefined;
    start?.();
  };
  return (hostname, options, callback) => {
    if (waiting.length >= WAITING_MAX) {
      return callback(Object.assign(new Error("too many name look-ups wait"), { code: "EAI_AGAIN" }), []);
    }
    waiting.push(() => {
      resolve(hostname, options, (error, addresses) => {
        startNext();
        callback(error, addresses);
      });
    });
    if (!isBusy) startNext();
  };
}

function refused(hostname: string): AssetFailure {
  return new AssetFailure(
    "permission_denied",
    `host ${hostname}: its address is private or special, which is not allowed`,
  );
}
