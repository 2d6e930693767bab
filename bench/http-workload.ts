import autocannon, { type Request } from "autocannon";
import type { LoadMeasurement } from "./load-generator.ts";

/** Longer than whatever a machine that does other things as well takes for one request. */
const TIMEOUT_SECONDS = 120;

/** One request of a load. */
export interface HttpRequest {
  readonly method: "GET" | "PUT";
  readonly path: string;
  readonly body?: Buffer;
}

export interface HttpLoad {
  /** `127.0.0.1:PORT` */
  readonly endpoint: string;
  readonly connections: number;
  readonly requests: number;
  /** Called for each request. */
  readonly next: () => HttpRequest;
}

/** HTTP/1.1 by autocannon, a request at a time on each connection. @throws where an answer is not 2xx. */
export async function measureHttp({ endpoint, connections, requests, next }: HttpLoad): Promise<LoadMeasurement> {
  const cpuAtStart = process.cpuUsage();
  let sentBytes = 0;
  const setupRequest = (request: Request): Request => {
    const { method, path, body } = next();
    sentBytes += body?.length ?? 0;
    return { ...request, method, path, ...(body && { body }) };
  };
  const url = `http://${endpoint}`;
  const result = await autocannon({
    url,
    connections,
    amount: requests,
    requests: [{ setupRequest }],
    timeout: TIMEOUT_SECONDS,
  });
  const cpu = process.cpuUsage(cpuAtStart);
  const answered = result["2xx"];
  if (answered !== requests) {
    const others = `${result.non2xx} with other answers, ${result.errors} errors, ${result.timeouts} of them timeouts`;
    throw new Error(`${answered} of ${requests} requests answered with 2xx, ${others}`);
  }
  const seconds = (result.finish.getTime() - result.start.getTime()) / 1000;
  const bytes = Math.max(sentBytes, result.throughput.total);
  return {
    operations: answered,
    bytes,
    seconds,
    operationsPerSecond: answered / seconds,
    megabytesPerSecond: bytes / 1e6 / seconds,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
    p999Ms: result.latency.p99_9,
    clientCpuSeconds: (cpu.user + cpu.system) / 1e6,
  };
}
