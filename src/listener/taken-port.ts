import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Sockets that share a port also share it with those of another process, silently: so the port is first taken alone.
 * @throws EADDRINUSE where somebody else has it.
 */
export async function refuseTakenPort(host: string, port: number): Promise<void> {
  const probe = createServer().listen({ host, port });
  await once(probe, "listening");
  probe.close();
  await once(probe, "close");
}
