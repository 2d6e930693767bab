import { installPrograms } from "../test/support/debian-packages.ts";
import type { BenchOptions, Report } from "./bench-options.ts";
import { reportDiskLimit } from "./disk-limit-rows.ts";
import { measureOneClient } from "./http-client.ts";
import { type HttpLoad, type HttpRequest, measureHttp } from "./http-workload.ts";
import { ServerBench } from "./server-bench.ts";
import { SlowClients } from "./slow-clients.ts";
import { bareHttp } from "./systems/bare-http.ts";
import { nginxDav } from "./systems/nginx.ts";
import { TextBlobs } from "./text-blobs.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SLOW_CLIENTS = 200;
/** Spread over the time from one of their steps to the next, one that reads with one that uploads; and all in step. */
const SLOW_AT_ONCE = [
  [`${SLOW_CLIENTS} slow`, 2],
  [`${SLOW_CLIENTS} in step`, SLOW_CLIENTS],
] as const;

/** Size, bytes of all that is put, and how often all of that is got. */
const SIZES = [
  ["4 KiB", 4 * KIB, 64 * MIB, 4],
  ["128 KiB", 128 * KIB, 512 * MIB, 4],
  ["4 MiB", 4 * MIB, 512 * MIB, 4],
] as const;

/** Blobs by PUT and GET, beside `node:http` without a cache and nginx with files, size by size. */
export async function httpBlobs(options: BenchOptions, report: Report): Promise<void> {
  installPrograms([{ program: "nginx", packages: ["nginx"] }]);
  await reportDiskLimit(options, report);
  await using own = await ServerBench.start(options, report);
  await using bare = await ServerBench.start({ ...options, system: bareHttp }, report);
  await using files = await ServerBench.start({ ...options, system: nginxDav }, report);
  const benches = [own, bare, files];
  for (const [label, sizeBytes, totalBytes, passes] of SIZES) {
    for (const bench of benches) await warmUp(bench, options.writers, new TextBlobs(sizeBytes, totalBytes / 4), passes);
    const blobs = new TextBlobs(sizeBytes, totalBytes);
    for (const [method, requests] of requestsOf(blobs, passes)) {
      for (const bench of benches) {
        const load = loadOf(bench, options.writers, blobs, method, requests);
        await bench.measureRun(`${method.toUpperCase()} ${label} x${load.connections}`, () => measureHttp(load));
      }
    }
  }
  for (const bench of benches) await bench.stop();
}

/** One fast client, alone and among 200 that take and give a few bytes at a time. */
export async function httpSlow(options: BenchOptions, report: Report): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  const { endpoint } = bench;
  const large = new TextBlobs(64 * MIB, 64 * MIB);
  await measureOneClient(endpoint, 1, () => large.put(0));
  const blobs = new TextBlobs(128 * KIB, 512 * MIB);
  const put = inTurn(blobs.count, (number) => blobs.put(number));
  const requests = Math.floor(blobs.count / 4);
  await measureOneClient(endpoint, requests, put);
  const get = inTurn(requests, (number) => blobs.get(number));
  const measureBoth = async (among: string): Promise<void> => {
    await bench.measureRun(`GET 128 KiB, ${among}`, () => measureOneClient(endpoint, 8 * requests, get));
    await bench.measureRun(`PUT 128 KiB, ${among}`, () => measureOneClient(endpoint, requests, put));
  };
  await measureBoth("alone");
  for (const [among, atOnce] of SLOW_AT_ONCE) {
    await using _slow = await SlowClients.start({ endpoint, count: SLOW_CLIENTS, atOnce, readPath: large.path(0) });
    await measureBoth(among);
  }
  await bench.stop();
}

/** A cache runs for weeks: what is measured has been compiled. */
async function warmUp(bench: ServerBench, writers: number, blobs: TextBlobs, passes: number): Promise<void> {
  for (const [method, requests] of requestsOf(blobs, passes)) {
    await measureHttp(loadOf(bench, writers, blobs, method, requests));
  }
}

function requestsOf({ count }: TextBlobs, passes: number): (readonly ["put" | "get", number])[] {
  return [
    ["put", count],
    ["get", count * passes],
  ];
}

function loadOf(
  { endpoint }: ServerBench,
  writers: number,
  blobs: TextBlobs,
  method: "put" | "get",
  requests: number,
): HttpLoad {
  const connections = Math.min(writers, blobs.count);
  return { endpoint, connections, requests, next: inTurn(blobs.count, (number) => blobs[method](number)) };
}

/** Numbers from 0, over and over. */
function inTurn(count: number, requestOf: (number: number) => HttpRequest): () => HttpRequest {
  let made = 0;
  return () => requestOf(made++ % count);
}
