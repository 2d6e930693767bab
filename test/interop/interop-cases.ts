import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { dataOfReadResponses, grpcBody, readBody, writeBody } from "./grpc-bodies.ts";

/** The server that a case talks to, and where it may put its files. */
export interface Surroundings {
  /** `localhost:PORT` */
  readonly endpoint: string;
  /** PEM file; undefined: the connection is plain. */
  readonly certificate: string | undefined;
  readonly directory: string;
}

export interface InteropCase {
  readonly name: string;
  /** @returns what is wrong, and what was seen. */
  run(around: Surroundings): Promise<{ problems: readonly string[]; seen: string }>;
}

const CAPABILITIES = "build.bazel.remote.execution.v2.Capabilities/GetCapabilities";
const WRITE = "google.bytestream.ByteStream/Write";
const READ = "google.bytestream.ByteStream/Read";
const GRPC_HEADERS = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
/** Debian's own, which its grpcio belongs to, whatever comes first on PATH. */
const PYTHON = "/usr/bin/python3";
const PYTHON_CLIENT = fileURLToPath(new URL("./grpcio_client.py", import.meta.url));
const BLOB = randomBytes(3_000_000);
const TIMEOUT_MS = 120_000;

interface Output {
  readonly code: number;
  readonly text: string;
}

/** Runs a program to its end; its two outputs together. */
function run(program: string, args: readonly string[]): Promise<Output> {
  return new Promise((resolve) => {
    const options = { timeout: TIMEOUT_MS, maxBuffer: 64 * 1024 * 1024, encoding: "latin1" } as const;
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (child.exitCode ?? 1), text: stdout + stderr });
    });
  });
}

function urlOf({ endpoint, certificate }: Surroundings, path: string): string {
  return `${certificate === undefined ? "http" : "https"}://${endpoint}/${path}`;
}

function fileOf({ directory }: Surroundings, name: string, content: Buffer): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

/** Says what of the texts is missing. */
function expectTexts({ code, text }: Output, expected: readonly string[]): string[] {
  const missing = expected.filter((part) => !text.includes(part)).map((part) => `expected ${JSON.stringify(part)}`);
  if (code !== 0) missing.push(`exit code ${code}`);
  return missing.length === 0 ? [] : [...missing, `output: ${text.slice(-1000)}`];
}

/** A gRPC call by curl. */
async function curlCall(around: Surroundings, path: string, body: Buffer): Promise<Output & { body: Buffer }> {
  const response = join(around.directory, "response");
  const version =
    around.certificate === undefined ? ["--http2-prior-knowledge"] : ["--http2", "--cacert", around.certificate];
  const report = ["-sS", "-D", "-", "-o", response, "-w", "version %{http_version}\n"];
  const request = [...GRPC_HEADERS, "-X", "POST", "--data-binary", `@${fileOf(around, "request", body)}`];
  const output = await run("curl", [...report, ...version, ...request, urlOf(around, path)]);
  return { ...output, body: readFileSync(response) };
}

const GRPC_OK = ["version 2\n", "HTTP/2 200", "grpc-status: 0"];

const curlCases: InteropCase[] = [
  {
    name: "curl: a call",
    run: async (around) => {
      const { body, ...output } = await curlCall(around, CAPABILITIES, grpcBody(Buffer.alloc(0)));
      const problems = expectTexts(output, GRPC_OK);
      if (body.length < 20) problems.push(`a body of ${body.length} bytes`);
      return { problems, seen: `${body.length} bytes` };
    },
  },
  {
    name: "curl: 3 MB written, and read as they were",
    run: async (around) => {
      const written = await curlCall(around, WRITE, writeBody(BLOB));
      const read = await curlCall(around, READ, readBody(BLOB));
      const problems = [...expectTexts(written, GRPC_OK), ...expectTexts(read, GRPC_OK)];
      if (!dataOfReadResponses(read.body).equals(BLOB)) problems.push("other bytes were read");
      return { problems, seen: `${read.body.length} bytes` };
    },
  },
  {
    name: "curl: HTTP/1.1 on the same port",
    run: async (around) => {
      const secure = around.certificate === undefined ? [] : ["--cacert", around.certificate];
      const args = ["-sS", "-i", "--http1.1", ...secure, urlOf(around, "readyz")];
      return { problems: expectTexts(await run("curl", args), ["HTTP/1.1 200 OK", "serving"]), seen: "200" };
    },
  },
];

const nghttpCases: InteropCase[] = [
  {
    name: "nghttp: 50 calls at once",
    run: async (around) => {
      const body = fileOf(around, "request", grpcBody(Buffer.alloc(0)));
      const args = ["-v", "-m", "50", "-H", ":method: POST", ...GRPC_HEADERS, "-d", body, urlOf(around, CAPABILITIES)];
      const output = await run("nghttp", args);
      const ended = output.text.match(/grpc-status: 0/g)?.length ?? 0;
      const problems = output.code === 0 && ended === 50 ? [] : [`exit code ${output.code}, ${ended} calls ended well`];
      return { problems, seen: `${ended} calls` };
    },
  },
  {
    name: "nghttp: padded frames, windows of 64 KiB",
    run: async (around) => {
      const body = fileOf(around, "request", writeBody(BLOB));
      const narrow = ["-v", "-n", "--padding=100", "-w", "16", "-W", "16", "-H", ":method: POST", ...GRPC_HEADERS];
      const written = await run("nghttp", [...narrow, "-d", body, urlOf(around, WRITE)]);
      const request = fileOf(around, "read", readBody(BLOB));
      const read = await run("nghttp", [...narrow, "-d", request, urlOf(around, READ)]);
      const problems = [...expectTexts(written, ["grpc-status: 0"]), ...expectTexts(read, ["grpc-status: 0"])];
      return { problems, seen: `${read.text.match(/recv DATA/g)?.length ?? 0} frames` };
    },
  },
];

/** @param count of calls; each has to be answered with 2xx. */
function h2loadCase(name: string, path: string, count: number, body: () => Buffer): InteropCase {
  return {
    name: `h2load: ${name}`,
    run: async (around) => {
      const file = fileOf(around, "request", body());
      const load = ["-n", `${count}`, "-c", "4", "-m", "32", "-w", "24", "-W", "24"];
      const output = await run("h2load", [...load, ...GRPC_HEADERS, "-d", file, urlOf(around, path)]);
      const rate = /finished in .*/.exec(output.text)?.[0] ?? "";
      return { problems: expectTexts(output, [`${count} succeeded, 0 failed`, `${count} 2xx`]), seen: rate };
    },
  };
}

const h2loadCases: InteropCase[] = [
  h2loadCase("10,000 small calls", CAPABILITIES, 10_000, () => grpcBody(Buffer.alloc(0))),
  h2loadCase("200 reads of 3 MB", READ, 200, () => readBody(BLOB)),
  h2loadCase("200 writes of what is there already", WRITE, 200, () => writeBody(BLOB)),
];

const grpcioCase: InteropCase = {
  name: "grpcio: calls, refusals, compression, deadlines",
  run: async ({ endpoint, certificate }) => {
    const args = certificate === undefined ? [endpoint] : [endpoint, certificate];
    const output = await run(PYTHON, [PYTHON_CLIENT, ...args]);
    return { problems: output.code === 0 ? [] : [output.text], seen: output.text.trim() };
  },
};

/** Every call of the cases before ended as the client was told, none with a fault of the server. */
const metricsCase: InteropCase = {
  name: "the server saw the same",
  run: async (around) => {
    const secure = around.certificate === undefined ? [] : ["--cacert", around.certificate];
    const { text } = await run("curl", ["-sS", "--http1.1", ...secure, urlOf(around, "metrics")]);
    const ended = [...text.matchAll(/^kura_rpc_calls_total\{method="([^"]+)",status="([^"]+)"\} (\d+)$/gm)];
    const faults = ended.filter(([, , status]) => status === "internal" || status === "unknown");
    const ok = ended.reduce((sum, [, , status, count]) => sum + (status === "ok" ? Number(count) : 0), 0);
    const problems = faults.map(([line]) => line);
    if (ok < 10_000) problems.push(`only ${ok} calls ended with ok`);
    return { problems, seen: `${ok} calls ok` };
  },
};

export const INTEROP_CASES: readonly InteropCase[] = [
  ...curlCases,
  ...nghttpCases,
  ...h2loadCases,
  grpcioCase,
  metricsCase,
];
