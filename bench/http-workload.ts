import autocannon from "autocannon";
import type { LoadMeasurement } from "./load-generator.ts";

export interface HttpLoad {
  /** `127.0.0.1:PORT` */
  readonly endpoint: string;
  readonly path: string;
  readonly connections: number;
  readonly requests: number;
}

/** GET over HTTP/1.1 by autocannon, a request at a time on each connection. @throws where an answer is not 2xx. */
export async function measureHttp({ endpoint, path, connections, requests }: HttpLoad): Promise<LoadMeasurement> {
  const cpuAtStart = process.cpuUsage();
  const result = await autocannon({ url: `http://${endpoint}${path}`, connections, amount: requests });
  const cpu = process.cpuUsage(cpuAtStart);
  const answered = result["2xx"];
  if (answered !== requests) throw new Error(`GET ${path}: ${answered} of ${requests} answered with 2xx`);
  const seconds = (result.finish.getTime() - result.start.getTime()) / 1000;
  const bytes = result.throughput.total;
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
