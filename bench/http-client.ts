import { once } from "node:events";
import { Agent, type IncomingMessage, request } from "node:http";
import type { HttpRequest } from "./http-workload.ts";
import type { LoadMeasurement } from "./load-generator.ts";
import { summarize } from "./measurement.ts";

/** One request after the other on one connection, each timed by itself. @throws where an answer is not 200. */
export async function measureOneClient(
  endpoint: string,
  requests: number,
  next: () => HttpRequest,
): Promise<LoadMeasurement> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const cpuAtStart = process.cpuUsage();
  const startedAt = performance.now();
  const latenciesMs: number[] = [];
  let bytes = 0;
  for (let i = 0; i < requests; i++) {
    const { method, path, body } = next();
    const sentAt = performance.now();
    const sent = request(`http://${endpoint}${path}`, {
      agent,
      method,
      headers: { "content-length": body?.length ?? 0 },
    });
    const answering = once(sent, "response") as Promise<[IncomingMessage]>;
    sent.end(body);
    const [answer] = await answering;
    bytes += body?.length ?? 0;
    answer.on("data", (chunk: Buffer) => (bytes += chunk.length));
    await once(answer, "end");
    latenciesMs.push(performance.now() - sentAt);
    if (answer.statusCode !== 200) throw new Error(`${method} ${path}: ${answer.statusCode}`);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const cpu = process.cpuUsage(cpuAtStart);
  agent.destroy();
  const clientCpuSeconds = (cpu.user + cpu.system) / 1e6;
  return { ...summarize({ operations: requests, bytes, seconds, latenciesMs }), clientCpuSeconds };
}
