import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { describe, expect, it, onTestFinished } from "vitest";
import { findListening, listeningAddressOf } from "../../src/service-manager/listening-address.ts";

/** As Linux prints them: the header, one that listens, one that is connected, and a wider address. */
const TABLE = [
  "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
  "   0: 0100007F:2384 00000000:0000 0A 00000000:00000001 00:00000000 00000000  1000        0 2818855 2 0 100 0 0 10 0",
  "   1: 0100007F:2384 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 2818856 1 0 20 4 30 10 -1",
  "",
].join("\n");

describe("findListening", () => {
  it("reads addresses as the kernel writes them", () => {
    expect(findListening(TABLE, 2818855n)).toEqual({ host: "127.0.0.1", port: 9092 });
    const inTable6 = (address: string) => findListening(TABLE.replace("0100007F", address), 2818855n)?.host;
    expect(inTable6("00000000000000000000000000000000")).toBe("::");
    expect(inTable6("00000000000000000000000001000000")).toBe("::1");
    expect(inTable6("B80D0120000000000000000001000000")).toBe("2001:db8::1");
    expect(inTable6("0000000000000000FFFF00000100007F")).toBe("::ffff:127.0.0.1");
  });

  it("passes over what is connected, and what is another's", () => {
    expect(findListening(TABLE, 2818856n)).toBeUndefined();
    expect(findListening(TABLE, 281885n)).toBeUndefined();
  });
});

describe.runIf(process.platform === "linux")("listeningAddressOf", () => {
  it.each(["127.0.0.1", "::1"])("finds a socket of this process that listens on %s", async (host) => {
    const server = createServer().listen(0, host);
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    expect(listeningAddressOf(descriptorOf(server))).toEqual({ host, port });
    const client = connect(port, host);
    onTestFinished(() => void client.destroy());
    await once(client, "connect");
    expect(listeningAddressOf(descriptorOf(client))).toBeUndefined();
  });

  it("finds nothing where there is no socket, or nothing at all", () => {
    expect(listeningAddressOf(0)).toBeUndefined();
    expect(listeningAddressOf(1_000_000)).toBeUndefined();
  });
});

/** Node shows it to those who know where to look. */
function descriptorOf(socket: object): number {
  return (socket as { _handle: { fd: number } })._handle.fd;
}
