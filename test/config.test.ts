import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Config, formatSettings, type Invocation, keepsAccounts, loadConfig } from "../src/config.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "./support/temporary-directory.ts";

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;

describe("loadConfig", () => {
  let directory: TemporaryDirectory;
  let fileCount = 0;

  beforeAll(async () => {
    directory = await makeTemporaryDirectory("config");
  });
  afterAll(async () => {
    await directory[Symbol.asyncDispose]();
  });

  function yamlFile(content: string): string {
    const path = join(directory.path, `kura-${fileCount++}.yaml`);
    writeFileSync(path, content);
    return path;
  }

  function configFrom(args: string[], environment: Record<string, string> = {}): Config {
    const invocation = loadConfig(args, environment);
    if (invocation.command === "refuse") throw new Error(invocation.problems.join("\n"));
    if (invocation.command === "print") throw new Error(invocation.text);
    return invocation.config;
  }

  function problemsFrom(args: string[], environment: Record<string, string> = {}): readonly string[] {
    const invocation = loadConfig(args, environment);
    return invocation.command === "refuse" ? invocation.problems : [];
  }

  function sourcesOf(invocation: Invocation): Record<string, string> {
    if (invocation.command !== "serve" && invocation.command !== "config") return {};
    return Object.fromEntries(invocation.settings.map(({ flag, source }) => [flag, source]));
  }

  it("has a default for every option, as DESIGN 10 states them but for stream windows, which are as measured", () => {
    const config = configFrom([]);
    expect(config).toMatchObject({
      host: "127.0.0.1",
      port: 9092,
      durability: "commit",
      blobBytesMax: 0,
      stagingMemoryBytes: 128 * MIB,
      minLeaseMs: 3 * 3_600_000,
      addressConnectionCountMax: 0,
      uploadIdleTimeoutMs: 60_000,
      downloadIdleTimeoutMs: 60_000,
      drainTimeoutMs: 30_000,
      streamWindowBytes: 8 * MIB,
      connectionWindowBytes: 32 * MIB,
      connectionAgeMsMax: 0,
      tlsCertPath: undefined,
      logLevel: "info",
    });
    expect(config.directory).toBe(join(process.cwd(), "data"));
    expect(config.shardCount).toBeGreaterThanOrEqual(2);
    expect(config.segmentBytesMax).toBeUndefined();
    expect(config.maxBytes).toBeGreaterThan(0);
    expect(config.stagingDiskBytes).toBeLessThanOrEqual(config.maxBytes / 4);
  });

  it("takes the collector of traces from the standard variables, after its own, and completes its URL", () => {
    const standard = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://collector:4318/base/", OTEL_TRACES_SAMPLER_ARG: "0.25" };
    const invocation = loadConfig([], standard);
    const url = "http://collector:4318/base/v1/traces";
    expect(invocation).toMatchObject({ config: { otlpUrl: url, traceSampleRate: 0.25 } });
    expect(sourcesOf(invocation)["otlp-endpoint"]).toBe("environment OTEL_EXPORTER_OTLP_ENDPOINT");
    const ofTraces = { ...standard, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: "https://traces/in" };
    expect(configFrom([], ofTraces).otlpUrl).toBe("https://traces/in");
    expect(configFrom(["--otlp-endpoint", "http://own:4318"], ofTraces).otlpUrl).toBe("http://own:4318/v1/traces");
    expect(configFrom([]).otlpUrl).toBeUndefined();
    for (const url of ["collector:4318", "grpc://collector", "http://user:secret@collector"]) {
      expect(problemsFrom(["--otlp-endpoint", url])).toEqual([
        expect.stringContaining("expected an http or https URL"),
      ]);
    }
    for (const share of ["1.1", "-0.1", "1e-3", "all"]) {
      expect(problemsFrom([`--access-log=${share}`])).toEqual([expect.stringContaining("a number from 0 to 1")]);
    }
  });

  it("takes a flag before the environment, the environment before the file, the file before the default", () => {
    const path = yamlFile("port: 1\nhost: 127.0.0.3\nshards: 3\n");
    const environment = { KURA_PORT: "2", KURA_HOST: "127.0.0.2", KURA_CONFIG: path };
    const invocation = loadConfig(["--port", "3"], environment);
    expect(invocation).toMatchObject({ command: "serve", config: { port: 3, host: "127.0.0.2", shardCount: 3 } });
    expect(sourcesOf(invocation)).toMatchObject({
      port: "flag --port",
      host: "environment KURA_HOST",
      shards: `file ${path}`,
      durability: "default",
    });
  });

  it("takes the file named by a flag before the one named by the environment", () => {
    const [named, other] = [yamlFile("port: 1"), yamlFile("port: 2")];
    expect(configFrom(["--config", named], { KURA_CONFIG: other }).port).toBe(1);
  });

  it("counts an empty variable as unset", () => {
    expect(configFrom([], { KURA_PORT: "", KURA_CONFIG: "" }).port).toBe(9092);
  });

  it("takes the last of a flag given twice, and values after an equals sign", () => {
    expect(configFrom(["--port=1", "--port=2"]).port).toBe(2);
  });

  it("makes windows as small as there is little memory, and no larger than lines need", () => {
    const windows = (budget: string) => {
      const { streamWindowBytes, connectionWindowBytes } = configFrom(["--memory-budget", budget]);
      return [streamWindowBytes, connectionWindowBytes];
    };
    expect(windows("32MiB")).toEqual([256 * 1024, MIB]);
    expect(windows("100000000")).toEqual([762 * 1024, 3051 * 1024]);
    expect(windows("1GiB")).toEqual([8 * MIB, 32 * MIB]);
    expect(windows("8GiB")).toEqual([8 * MIB, 32 * MIB]);
  });

  it("reads sizes and durations in their units", () => {
    const sizeOf = (text: string) => configFrom(["--staging-memory", text]).stagingMemoryBytes;
    expect(sizeOf("10GiB")).toBe(10 * GIB);
    expect(sizeOf("10 gib")).toBe(10 * GIB);
    expect(sizeOf("1.5MiB")).toBe(1.5 * MIB);
    expect(sizeOf("2MB")).toBe(2_000_000);
    expect(sizeOf("1048576")).toBe(MIB);
    const timeOf = (text: string) => configFrom(["--drain-timeout", text]).drainTimeoutMs;
    expect([timeOf("500ms"), timeOf("1.5s"), timeOf("2m"), timeOf("3h"), timeOf("1d"), timeOf("0")]).toEqual([
      500, 1500, 120_000, 10_800_000, 86_400_000, 0,
    ]);
    expect(configFrom(["--segment-size", "auto"]).segmentBytesMax).toBeUndefined();
    expect(configFrom(["--segment-size", "64MiB"]).segmentBytesMax).toBe(64 * MIB);
    expect(configFrom(["--host", "[::1]"]).host).toBe("::1");
  });

  it("reports every problem at once, each with the place, what was expected, and what it got", () => {
    const path = yamlFile("shards: none\nmax-siez: 1GiB\ndurability: [commit]\nlog-level:\n");
    const problems = problemsFrom(
      ["--port", "70000", "--max-size", "10G", "--host", "a b", "--prot", "1", "--min-lease=3", "--config", path],
      { KURA_DRAIN_TIMEOUT: "soon", KURA_MAX_BLOB_SIZE: "-1" },
    );
    expect(problems).toEqual([
      "command line: unknown option --prot; see --help",
      `${path}: unknown option "max-siez"`,
      `${path}: durability: expected a text or a number, got ["commit"]`,
      `${path}: log-level: expected a text or a number, got null`,
      '--host: expected an IP address or a host name, got "a b"',
      '--port: expected a port from 0 to 65535, got "70000"',
      '--max-size: expected a size such as 512MiB or 10GiB, at least 32MiB, got "10G"',
      `${path}: shards: expected a whole number from 1 to 64, got "none"`,
      'KURA_MAX_BLOB_SIZE: expected a size such as 512MiB or 10GiB, got "-1"',
      '--min-lease: expected a duration such as 500ms, 30s or 3h, from 0 to 24d, got "3"',
      'KURA_DRAIN_TIMEOUT: expected a duration such as 500ms, 30s or 3h, from 0 to 24d, got "soon"',
    ]);
  });

  it.each([
    ["--port", ["", "-1", "1.5", "0x10", "65536", "9092 ", "NaN"]],
    ["--max-size", ["", "0", "1KiB", "10G", "1e9", "-5GiB", "99999999999TiB", "10GiB/s"]],
    ["--drain-timeout", ["", "30", "-1s", "30 days", "25d", "1e3s"]],
    ["--durability", ["", "Commit", "none"]],
    ["--dir", ["", "a\0b"]],
    ["--host", ["", "-x", "a/b", "[::1", "::g"]],
    ["--upload-idle-timeout", ["0", "0s"]],
    ["--segment-size", ["Auto", "0"]],
    ["--stream-window", ["0", "63KiB", "2GiB"]],
    ["--connection-window", ["1023KiB", "2GiB"]],
    ["--tls-cert", ["a\0b"]],
  ])("refuses bad values of %s", (flag, values) => {
    for (const value of values) {
      const got = `, got ${JSON.stringify(value)}`;
      expect(problemsFrom([`${flag}=${value}`])).toEqual([expect.stringContaining(got)]);
    }
  });

  it("refuses a flag without its value", () => {
    expect(problemsFrom(["--port"])).toEqual(["command line: option '--port <PORT>' argument missing"]);
  });

  it("refuses unknown commands and surplus words", () => {
    expect(problemsFrom(["sevre"])).toEqual([
      "command line: expected one of the commands serve, config, verify, got sevre",
    ]);
    expect(problemsFrom(["serve", "now"])).toEqual([
      "command line: expected one of the commands serve, config, verify, got now",
    ]);
  });

  it("refuses values that contradict each other", () => {
    const args = ["--max-size", "1GiB", "--staging-size", "1GiB", "--max-blob-size", "2GiB"];
    expect(problemsFrom(args)).toEqual([
      "--staging-size: expected less than --max-size (1GiB), which it is part of, got 1GiB",
      "--max-blob-size: expected at most --max-size (1GiB), got 2GiB",
    ]);
    const oneOfTwo = ["--tls-cert and --tls-key: expected both or neither"];
    expect(problemsFrom(["--tls-cert", "cert.pem"])).toEqual(oneOfTwo);
    expect(problemsFrom(["--tls-key", "key.pem"])).toEqual(oneOfTwo);
  });

  it("refuses a file that cannot be read, is not YAML, or is no mapping", () => {
    expect(problemsFrom(["--config", "/nonexistent/kura.yaml"])[0]).toMatch(
      /^--config \/nonexistent\/kura.yaml: cannot be read: ENOENT/,
    );
    expect(problemsFrom(["--config", yamlFile("port: [1")])[0]).toContain("is not YAML");
    expect(problemsFrom(["--config", yamlFile("- port\n")])[0]).toContain("expected a mapping");
    expect(problemsFrom(["--config", yamlFile("")])).toEqual([]);
  });

  it("prints help with every option, its variable and its default, and the version", () => {
    const help = loadConfig(["--help"], {});
    if (help.command !== "print") throw new Error("no help");
    for (const expected of ["--max-size <SIZE>", "KURA_MAX_SIZE", "--config <FILE>", "default: 127.0.0.1"]) {
      expect(help.text.replaceAll(/\s+/g, " ")).toContain(expected);
    }
    expect(loadConfig(["--version"], {})).toEqual({
      command: "print",
      text: expect.stringMatching(/^\d+\.\d+\.\d+\n$/),
    });
  });

  it("takes ranges of addresses, with commas between them, or none", () => {
    const { assetPrivateRanges } = configFrom(["--asset-allow-private", "10.0.0.0/8, fd00::/8,127.0.0.1"]);
    expect(assetPrivateRanges.map(({ address, prefixBits }) => [address, prefixBits])).toEqual([
      ["10.0.0.0", 8],
      ["fd00::", 8],
      ["127.0.0.1", 32],
    ]);
    expect(configFrom(["--asset-allow-private", ""]).assetPrivateRanges).toEqual([]);
    for (const text of ["10.0.0.0/33", "10.0.0.0/8,", "localhost"]) {
      expect(problemsFrom(["--asset-allow-private", text])).toEqual([expect.stringContaining("--asset-allow-private")]);
    }
  });

  it("takes quotas by patterns of instance names, of which there may be none", () => {
    const { instanceQuotas } = configFrom(["--instance-quotas", "main=1GiB, branch/*=512MiB,a=b=1MiB,=2MiB"]);
    expect(instanceQuotas.map(({ pattern, bytesMax }) => [pattern.text, bytesMax])).toEqual([
      ["main", 2 ** 30],
      ["branch/*", 2 ** 29],
      ["a=b", 2 ** 20],
      ["", 2 ** 21],
    ]);
    expect(configFrom(["--instance-quotas", ""]).instanceQuotas).toEqual([]);
    for (const text of ["main", "main=", "main=many", "main=1GiB,", "main=10"]) {
      expect(problemsFrom(["--instance-quotas", text])).toEqual([expect.stringContaining("--instance-quotas")]);
    }
  });

  it("refuses a quota that is larger than the cache", () => {
    const problems = problemsFrom(["--max-size", "1GiB", "--instance-quotas", "main=1GiB,other=2GiB"]);
    expect(problems).toEqual(["--instance-quotas: expected at most --max-size (1GiB) each, got other=2GiB"]);
  });

  it("keeps accounts where there are shares or quotas", () => {
    expect(keepsAccounts(configFrom([]))).toBe(false);
    expect(keepsAccounts(configFrom(["--fair-share", "on"]))).toBe(true);
    expect(keepsAccounts(configFrom(["--instance-quotas", "*=1MiB"]))).toBe(true);
  });

  it("prints the effective options as a file that means the same", () => {
    const args = ["--dir", directory.path, "--host", "::1", "--max-size", "10GiB", "--min-lease", "90m"];
    const invocation = loadConfig(["config", ...args], { KURA_PORT: "1" });
    if (invocation.command !== "config") throw new Error("no settings");
    const text = formatSettings(invocation.settings);
    expect(text).toMatch(/^port: "?1"? +# environment KURA_PORT$/m);
    expect(text).toMatch(/^max-size: 10GiB +# flag --max-size$/m);
    expect(text).toMatch(/^segment-size: auto +# default$/m);
    expect(configFrom(["--config", yamlFile(text)])).toEqual(invocation.config);
  });
});
