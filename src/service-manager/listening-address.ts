import { fstatSync, readFileSync } from "node:fs";
import { SocketAddress } from "node:net";

/** Where a socket takes connections. */
export interface ListeningAddress {
  readonly host: string;
  readonly port: number;
}

const TABLES = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
/** The kernel's TCP_LISTEN. */
const LISTEN_STATE = "0A";

/**
 * What Linux tells of the sockets in the network namespace of this process; nothing is done to the socket itself.
 * @returns undefined where the descriptor is no TCP socket that listens.
 */
export function listeningAddressOf(descriptor: number): ListeningAddress | undefined {
  try {
    const inode = fstatSync(descriptor, { bigint: true }).ino;
    for (const table of TABLES) {
      const address = findListening(readFileSync(table, "latin1"), inode);
      if (address !== undefined) return address;
    }
  } catch {
    // The descriptor is not open, or this is another system.
  }
  return undefined;
}

/**
 * A table has a header, and then a line for each socket, of which these columns count:
 *
 *     sl  local_address           rem_address   st  …  …  …  uid  timeout  inode
 *     0:  0100007F:2384 (hex)     …             0A  …  …  …  0    0        4711
 *
 * An address is made of 32-bit words, each as the processor keeps it in memory: those of Kura all put the low byte first.
 */
export function findListening(table: string, inode: bigint): ListeningAddress | undefined {
  for (const line of table.split("\n").slice(1)) {
    const [, local = "", , state, , , , , , lineInode] = line.trim().split(/\s+/);
    if (state !== LISTEN_STATE || lineInode !== String(inode)) continue;
    const [address = "", port = ""] = local.split(":");
    const bytes = Buffer.from(address, "hex").swap32();
    return { host: addressText(bytes), port: Number.parseInt(port, 16) };
  }
  return undefined;
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(2 * group).toString(16));
  // In its shortest form.
  return new SocketAddress({ address: groups.join(":"), family: "ipv6" }).address;
}
