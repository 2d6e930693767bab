const MAPPED_IPV4 = /^::ffff:(?=\d+\.)/i;
/** Groups of 16 bits: one subscriber has as many addresses below these as it likes. */
const NETWORK_GROUPS = 4;
const GROUPS = 8;

/**
 * What a client without a name is told from others by: its IPv4 address, or the first 64 bits of its IPv6 address.
 * @param address as the system writes it; there may be brackets around it.
 */
export function clientNetwork(address: string): string {
  const bare = address.replace(/^\[|[\]%].*$/g, "").replace(MAPPED_IPV4, "");
  if (!bare.includes(":")) return bare;
  const [head = "", tail] = bare.split("::", 2);
  const [first, last] = [groupsOf(head), groupsOf(tail)];
  const zeros = Array.from({ length: Math.max(0, GROUPS - first.length - last.length) }, () => "0");
  return `${[...first, ...zeros, ...last].slice(0, NETWORK_GROUPS).join(":")}::/64`;
}

function groupsOf(text = ""): string[] {
  return text === "" ? [] : text.split(":");
}
