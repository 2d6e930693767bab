import { execFile } from "node:child_process";
import { hash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { pino } from "pino";
import { expect, test } from "vitest";
import { loadConfig } from "../../src/config.ts";
import { startServer } from "../../src/server.ts";
import { serviceClient } from "../grpc/service-client.ts";
import { CacheClient, digestOf } from "../support/cache-client.ts";
import { MemoryEngine } from "../support/memory-engine.ts";
import { OtlpReceiver } from "../support/otlp-receiver.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const PARENT_ID = "b7ad6b7169203331";
const SERVER_KIND = 2;
const CAPABILITIES = "build.bazel.remote.execution.v2.Capabilities";

async function startedServer(...args: string[]) {
  const invocation = loadConfig(["--port", "0", "--dir", "/nonexistent", "--max-size", "1GiB", ...args], {});
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  const logger = pino({ level: "silent" });
  const lines: string[] = [];
  const accessLogger = pino({ base: null }, { write: (line) => void lines.push(line) });
  const openEngine = async () => new MemoryEngine();
  const server = await startServer(invocation.config, { logger, accessLogger, openEngine });
  return { server, lines };
}

test.each(["native", "grpc-js"])(
  "requests over %s and HTTP are spans of the traces they belong to",
  async (transport) => {
    await using receiver = await OtlpReceiver.start();
    const { server } = await startedServer("--otlp-endpoint", receiver.url, "--grpc-transport", transport);
    const client = new Client(server.endpoint, credentials.createInsecure());
    const metadata = new Metadata();
    metadata.set("traceparent", `00-${TRACE_ID}-${PARENT_ID}-01`);
    await serviceClient(client, CAPABILITIES).unary("GetCapabilities", {}, metadata);
    const lost = serviceClient(client, "build.bazel.remote.execution.v2.Execution").unary("Execute", {});
    await expect(lost).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
    client.close();
    const headers = { traceparent: `00-${TRACE_ID}-${PARENT_ID}-01`, "x-request-id": "build-7" };
    await (await fetch(`http://${server.endpoint}/readyz?secret`, { headers })).text();
    await server.close();
    const spanOf = (name: string) => receiver.spans.find((span) => span.name === name);
    expect(spanOf(`${CAPABILITIES}/GetCapabilities`)).toMatchObject({
      traceId: TRACE_ID,
      parentSpanId: PARENT_ID,
      kind: SERVER_KIND,
      isError: false,
      attributes: {
        "rpc.system": "grpc",
        "rpc.service": CAPABILITIES,
        "rpc.method": "GetCapabilities",
        "rpc.grpc.status_code": 0,
        "client.address": expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      },
      resource: { "service.name": "kura" },
    });
    expect(spanOf("GET status")).toMatchObject({
      traceId: TRACE_ID,
      parentSpanId: PARENT_ID,
      attributes: { "url.path": "/readyz", "http.response.status_code": 200, "kura.request_id": "build-7" },
    });
    const failed = spanOf("build.bazel.remote.execution.v2.Execution/Execute");
    expect(failed).toMatchObject({ isError: true, parentSpanId: undefined });
    expect(failed?.traceId).toMatch(/^(?!0af7)[0-9a-f]{32}$/);
  },
);

test("a trace that the client does not record is not recorded here, nor what --trace-sample leaves out", async () => {
  await using receiver = await OtlpReceiver.start();
  const { server } = await startedServer("--otlp-endpoint", receiver.url, "--trace-sample", "0");
  const ask = async (flags: string): Promise<void> => {
    const headers = { traceparent: `00-${TRACE_ID}-${PARENT_ID}-${flags}` };
    await (await fetch(`http://${server.endpoint}/healthz`, { headers })).text();
  };
  await ask("00");
  await ask("01");
  await (await fetch(`http://${server.endpoint}/healthz`)).text();
  await server.close();
  expect(receiver.spans.map(({ parentSpanId }) => parentSpanId)).toEqual([PARENT_ID]);
});

test("a collector that is away fails no request and does not keep the server from closing", async () => {
  const receiver = await OtlpReceiver.start();
  const { url } = receiver;
  await receiver[Symbol.asyncDispose]();
  const { server, lines } = await startedServer("--otlp-endpoint", url, "--access-log", "1");
  const response = await fetch(`http://${server.endpoint}/healthz`);
  expect([response.status, await response.text()]).toEqual([200, "alive\n"]);
  await server.close();
  expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
    expect.objectContaining({ part: "access", protocol: "status", method: "GET", path: "/healthz", status: "200" }),
  ]);
});

test("requests are logged with whose credentials they showed, and never with the credentials", async () => {
  await using directory = await makeTemporaryDirectory("access-log");
  const tokens = join(directory.path, "tokens");
  writeFileSync(tokens, `ci-main:${hash("sha256", "secret-token")}\n`);
  const { server, lines } = await startedServer("--auth-tokens", tokens, "--access-log", "1");
  const headers = { authorization: "Bearer secret-token" };
  const wrong = { authorization: "Bearer secret-guess" };
  const url = `http://${server.endpoint}/gradle/${"ab".repeat(16)}`;
  for (const each of [headers, wrong]) await (await fetch(url, { headers: each })).text();
  const client = new Client(server.endpoint, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("authorization", headers.authorization);
  await serviceClient(client, CAPABILITIES).unary("GetCapabilities", {}, metadata);
  client.close();
  await server.close();
  const logged = lines.map((line) => JSON.parse(line) as { protocol: string; status: string; caller?: string });
  expect(logged.map(({ protocol, status: how, caller }) => [protocol, how, caller])).toEqual([
    ["gradle", "404", "token ci-main"],
    ["gradle", "401", undefined],
    ["grpc", "ok", "token ci-main"],
  ]);
  expect(lines.join("")).not.toMatch(/secret-/);
});

test("every listener thread logs and traces what it serves, by the standard variables", async () => {
  await using directory = await makeTemporaryDirectory("tracing");
  await using receiver = await OtlpReceiver.start();
  const environment = {
    OTEL_EXPORTER_OTLP_ENDPOINT: receiver.url,
    OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=ours",
    OTEL_RESOURCE_ATTRIBUTES: "deployment.environment=test",
  };
  const calls = 24;
  await using server = await ServerProcess.start({
    directory: directory.path,
    environment,
    extraArguments: ["--listeners", "2", "--access-log", "1"],
  });
  for (let i = 0; i < calls; i++) {
    using client = new CacheClient(server.endpoint);
    await client.findMissing([digestOf(Buffer.from(`${i}`))]);
  }
  await server.stop();
  const found = receiver.spans.filter(({ name }) => name.endsWith("/FindMissingBlobs"));
  expect(found).toHaveLength(calls);
  expect(found[0]?.resource).toMatchObject({ "service.name": "kura", "deployment.environment": "test" });
  expect(new Set(found.map(({ headers }) => headers["x-tenant"]))).toEqual(new Set(["ours"]));
  const accessLines = server.output.split("\n").filter((line) => line.includes('"part":"access"'));
  expect(accessLines.filter((line) => line.includes("/FindMissingBlobs"))).toHaveLength(calls);
});

test("nothing of the SDK is loaded where there is no collector", async () => {
  const loaded = async (otlpUrl: string): Promise<string> => {
    const script = `
      import { createRequire } from "node:module";
      import { RequestObservers } from "./src/observability/request-observers.ts";
      import { createLogger } from "./src/observability/logger.ts";
      const logger = createLogger({ level: "silent", format: "json" });
      await RequestObservers.open({ accessLogRate: 1, otlpUrl: ${otlpUrl}, traceSampleRate: 1 }, logger);
      const paths = Object.keys(createRequire(import.meta.url).cache);
      console.log(paths.some((path) => path.includes("sdk-trace")) ? "loaded" : "not loaded");
      process.exit(0);`;
    const cwd = fileURLToPath(new URL("../..", import.meta.url));
    const args = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script];
    return (await promisify(execFile)(process.execPath, args, { cwd })).stdout.trim();
  };
  expect(await loaded("undefined")).toBe("not loaded");
  expect(await loaded('"http://127.0.0.1:9/v1/traces"')).toBe("loaded");
});
