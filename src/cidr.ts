import { BlockList, isIP } from "node:net";

/** A range of addresses, such as `10.0.0.0/8`; a single address is the range of itself. */
export interface Cidr {
  readonly address: string;
  readonly prefixBits: number;
  readonly family: "ipv4" | "ipv6";
}

/** @returns undefined where `text` is no range. */
export function parseCidr(text: string): Cidr | undefined {
  const [address = "", prefix, ...rest] = text.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes("%")) return undefined;
  const bits = version === 4 ? 32 : 128;
  if (prefix !== undefined && !/^\d{1,3}$/.test(prefix)) return undefined;
  const prefixBits = prefix === undefined ? bits : Number(prefix);
  return prefixBits > bits ? undefined : { address, prefixBits, family: version === 4 ? "ipv4" : "ipv6" };
}

export function formatCidr({ address, prefixBits }: Cidr): string {
  return `${address}/${prefixBits}`;
}

/** A set of addresses. An IPv4 address in IPv6 form counts as what it is. */
export class AddressRanges {
  readonly #list = new BlockList();

  constructor(ranges: readonly Cidr[]) {
    for (const { address, prefixBits, family } of ranges) this.#list.addSubnet(address, prefixBits, family);
  }

  /** @param address as the system writes it; a zone such as `%eth0` says nothing about the range. */
  has(address: string): boolean {
    const [bare = ""] = address.split("%");
    const version = isIP(bare);
    return version !== 0 && this.#list.check(bare, version === 4 ? "ipv4" : "ipv6");
  }
}
