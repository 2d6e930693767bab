/**
 * `npm run bench:nghttpd`: reads of one blob next to nghttpd serving the same bytes as a static file, both on core 0
 * and in turns, h2load on core 1. Needs `nghttpd` and `h2load` (Debian: nghttp2-server, nghttp2-client) and `taskset`.
 */
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { CacheClient, digestOf } from "../test/support/cache-client.ts";
import { ServerProcess } from "../test/support/server-process.ts";
import { makeTemporaryDirectory } from "../test/support/temporary-directory.ts";
import { readRequest } from "./byte-stream-messages.ts";
import { onCpus } from "./cpu-pinning.ts";
import { ProcessMeter } from "./process-meter.ts";

const KIB = 1024;
const ROUNDS = 3;
const SERVER_CPU = "0";
const CLIENT_CPU = "1";
/** Connections, calls in flight on each, and windows of 2^30 bytes: nobody waits for the client. */
const H2LOAD = ["h2load", "-c", "8", "-m", "8", "-w", "30", "-W", "30"];
const SIZES = [
  { sizeBytes: KIB, requests: 100_000 },
  { sizeBytes: 128 * KIB, requests: 20_000 },
] as const;

interface Target {
  readonly name: string;
  readonly pid: number;
  /** Arguments of h2load that ask for the blob. */
  readonly ask: readonly string[];
}

await using directory = await makeTemporaryDirectory("nghttpd");
const files = join(directory.path, "files");
mkdirSync(files);
await using kura = await ServerProcess.start({
  directory: join(directory.path, "kura"),
  maxSize: "4GiB",
  extraArguments: process.argv.slice(2),
  wrapper: onCpus(SERVER_CPU),
});
const port = await freePort();
const nghttpdCommand: readonly string[] = [...onCpus(SERVER_CPU), "nghttpd", "--no-tls", "-d", files, `${port}`];
const nghttpd = spawn(nghttpdCommand[0] ?? "", nghttpdCommand.slice(1), { stdio: "ignore" });
process.once("exit", () => nghttpd.kill());
await untilListening(port);

for (const { sizeBytes, requests } of SIZES) {
  const bytes = randomBytes(sizeBytes);
  const digest = digestOf(bytes);
  {
    using client = new CacheClient(kura.endpoint);
    await client.write(bytes);
  }
  writeFileSync(join(files, `${sizeBytes}`), bytes);
  const body = join(directory.path, `request-${sizeBytes}`);
  writeFileSync(body, readRequest({ hash: digest.hash, sizeBytes }));
  const headers = ["content-type: application/grpc", "te: trailers"].flatMap((header) => ["-H", header]);
  const url = `http://${kura.endpoint}/google.bytestream.ByteStream/Read`;
  const targets: Target[] = [
    { name: "kura", pid: kura.pid, ask: ["-d", body, ...headers, url] },
    { name: "nghttpd", pid: nghttpd.pid ?? 0, ask: [`http://127.0.0.1:${port}/${sizeBytes}`] },
  ];
  // One round more than is told of: code is compiled and files are in the page cache then.
  for (let round = 0; round <= ROUNDS; round++) {
    for (const target of targets) {
      const line = measure(target, requests, sizeBytes);
      if (round > 0) console.log(`${sizeBytes / KIB} KiB  ${line}`);
    }
  }
}
nghttpd.kill();
await kura.stop();

/** @throws where a single request fails. */
function measure({ name, pid, ask }: Target, requests: number, sizeBytes: number): string {
  using meter = new ProcessMeter(pid);
  const command: readonly string[] = [...onCpus(CLIENT_CPU), ...H2LOAD, "-n", `${requests}`, ...ask];
  const output = execFileSync(command[0] ?? "", command.slice(1), { encoding: "utf8" });
  if (!output.includes(`${requests} succeeded, 0 failed, 0 errored`)) throw new Error(`${name}: ${output}`);
  // A call that fails is a success to HTTP.
  const dataBytes = Number(/\((\d+)\) data/.exec(output)?.[1]);
  if (!(dataBytes >= requests * sizeBytes)) throw new Error(`${name}: expected ${sizeBytes} bytes a read: ${output}`);
  const rate = Number(/, ([\d.]+) req\/s/.exec(output)?.[1]);
  const microseconds = (meter.cpuSeconds / requests) * 1e6;
  return `${name.padEnd(8)} ${rate.toFixed(0).padStart(7)} reads/s ${microseconds.toFixed(1).padStart(7)} server us/read`;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("a TCP server has a port");
  return address.port;
}

/** Tries until somebody answers; a process that has ended makes the bench fail by its exit code. */
async function untilListening(listeningPort: number): Promise<void> {
  while (nghttpd.exitCode === null) {
    const isOpen = await new Promise((resolve) => {
      const socket = connect(listeningPort, "127.0.0.1", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (isOpen === true) return;
  }
  throw new Error("nghttpd did not start");
}
