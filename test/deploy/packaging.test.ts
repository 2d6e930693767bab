import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { type Config, loadConfig } from "../../src/config.ts";
import { environmentName, OPTIONS } from "../../src/config/options.ts";
import { readDockerfile, readText, readUnit, REPOSITORY, startCommand } from "./deploy-files.ts";

const { drainTimeoutMs } = configFrom({});
const FILES = ["Dockerfile", "compose.yaml", "systemd/kura.service", "systemd/kura.socket", "kubernetes/kura.yaml"].map(
  (name) => `deploy/${name}`,
);

function configFrom(environment: Record<string, string>): Config {
  const invocation = loadConfig([], environment);
  if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
  return invocation.config;
}

test("every KURA_ variable of a package is that of an option", () => {
  const known = new Set(Object.values(OPTIONS).map(({ flag }) => environmentName(flag)));
  const named = FILES.flatMap((file) => readText(file).match(/\bKURA_[A-Z_]+/g) ?? []);
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !known.has(name))).toEqual([]);
});

describe("the image", () => {
  const { instructions, valueOf, commandOf, environment, copied } = readDockerfile();

  test("starts Kura as `npm start` does", () => {
    const start = startCommand();
    expect(commandOf("ENTRYPOINT")).toEqual(["node", ...start.args]);
    expect(environment).toMatchObject(start.environment);
    expect(environment["NODE_COMPILE_CACHE"]).toBe(`${environment["KURA_DIR"]}/.compiled`);
    expect(configFrom(environment)).toMatchObject({ host: "0.0.0.0", port: 9092, directory: "/data" });
  });

  test("runs as a number that is not root's, which owns the data directory and nothing else", () => {
    const [user, group] = valueOf("USER").split(":").map(Number);
    expect(user).toBeGreaterThan(0);
    expect(group).toBeGreaterThan(0);
    expect(valueOf("RUN")).toBe(`install -d -o ${user} -g ${group} ${environment["KURA_DIR"]}`);
    expect(valueOf("VOLUME")).toBe(environment["KURA_DIR"]);
    const order = instructions.map(({ name }) => name);
    expect(order.lastIndexOf("COPY")).toBeLessThan(order.indexOf("USER"));
  });

  test("is made of what is there, and what its .dockerignore lets through is what it copies", () => {
    expect(copied.filter((path) => !existsSync(join(REPOSITORY, path)))).toEqual([]);
    const lines = readText("deploy/Dockerfile.dockerignore").trim().split("\n");
    expect(lines[0]).toBe("*");
    expect(new Set(lines.slice(1).map((line) => line.slice(1)))).toEqual(new Set(copied));
  });
});

test("the systemd unit starts Kura as `npm start` does, and waits for its drain", () => {
  const unit = readUnit();
  const valueOf = (wanted: string) => unit.find(({ name }) => name === wanted)?.value;
  const start = startCommand();
  expect(valueOf("ExecStart")).toBe(`/opt/kura/node_modules/.bin/node ${start.args.join(" ")}`);
  for (const [name, value] of Object.entries(start.environment)) {
    expect(valueOf("Environment")?.split(" ")).toContain(`${name}=${value}`);
  }
  expect(Number(valueOf("TimeoutStopSec")) * 1000).toBeGreaterThan(drainTimeoutMs + 10_000);
});

test("the systemd socket is one, where Kura listens without it", () => {
  const { host, port } = configFrom({});
  const listening = readUnit("kura.socket").filter(({ name }) => name.startsWith("Listen"));
  expect(listening).toEqual([{ name: "ListenStream", value: `${host}:${port}` }]);
});

interface ComposeService {
  readonly ports: readonly string[];
  readonly volumes: readonly string[];
  readonly read_only?: boolean;
  readonly cap_drop?: readonly string[];
  readonly security_opt?: readonly string[];
  readonly stop_grace_period?: string;
}

describe("docker compose", () => {
  const { services, volumes } = parse(readText("deploy/compose.yaml")) as {
    services: Record<string, ComposeService>;
    volumes: Record<string, unknown>;
  };

  test("runs Kura without privileges, and waits for its drain", () => {
    const { read_only, cap_drop, security_opt, stop_grace_period = "" } = services["kura"]!;
    expect([read_only, cap_drop, security_opt]).toEqual([true, ["ALL"], ["no-new-privileges:true"]]);
    expect(Number.parseInt(stop_grace_period, 10) * 1000).toBeGreaterThan(drainTimeoutMs + 10_000);
  });

  test("publishes ports to this machine only, and mounts what is there", () => {
    for (const { ports, volumes: mounted } of Object.values(services)) {
      expect(ports.filter((port) => !port.startsWith("127.0.0.1:"))).toEqual([]);
      for (const mount of mounted) {
        const [source = ""] = mount.split(":");
        expect(source.startsWith("./") ? existsSync(join(REPOSITORY, "deploy", source)) : source in volumes).toBe(true);
      }
    }
  });
});

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly selector: unknown;
    readonly serviceName?: string;
    readonly template?: { readonly metadata: { readonly labels: unknown }; readonly spec: PodSpec };
    readonly volumeClaimTemplates?: readonly {
      readonly metadata: { readonly name: string };
      readonly spec: { readonly resources: { readonly requests: { readonly storage: string } } };
    }[];
  };
}

interface PodSpec {
  readonly terminationGracePeriodSeconds: number;
  readonly securityContext: Readonly<Record<string, unknown>>;
  readonly containers: readonly [
    {
      readonly env: readonly { readonly name: string; readonly value: string }[];
      readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
      readonly securityContext: unknown;
      readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
      readonly startupProbe: Probe;
      readonly livenessProbe: Probe;
      readonly readinessProbe: Probe;
    },
  ];
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

describe("the Kubernetes manifests", () => {
  const manifests = parseAllDocuments(readText("deploy/kubernetes/kura.yaml")).map((one) => one.toJS() as Manifest);
  const ofKind = (kind: string): Manifest => manifests.find((manifest) => manifest.kind === kind)!;
  const { spec } = ofKind("StatefulSet");
  const pod = spec.template!.spec;
  const [container] = pod.containers;
  const image = readDockerfile();

  test("run it as the image wants it: the same user, port and data directory, which is the volume", () => {
    const [user, group] = image.valueOf("USER").split(":").map(Number);
    const identity = { runAsNonRoot: true, runAsUser: user, runAsGroup: group, fsGroup: group };
    expect(pod.securityContext).toMatchObject(identity);
    expect(container.ports).toEqual([{ name: "cache", containerPort: Number(image.environment["KURA_PORT"]) }]);
    const [claim] = spec.volumeClaimTemplates ?? [];
    expect(container.volumeMounts).toEqual([{ name: claim?.metadata.name, mountPath: image.environment["KURA_DIR"] }]);
  });

  test("take its privileges and the writing of its files away, and wait for its drain", () => {
    const confined = { readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: { drop: ["ALL"] } };
    expect(container.securityContext).toEqual(confined);
    expect(pod.terminationGracePeriodSeconds * 1000).toBeGreaterThan(drainTimeoutMs + 10_000);
  });

  test("probe what is there: alive for a restart, ready for traffic", () => {
    const { startupProbe, livenessProbe, readinessProbe } = container;
    const paths = [startupProbe, livenessProbe, readinessProbe].map(({ httpGet }) => httpGet);
    const port = "cache";
    expect(paths).toEqual([
      { path: "/healthz", port },
      { path: "/healthz", port },
      { path: "/readyz", port },
    ]);
  });

  test("select the pod that they mean, and leave room on its disk", () => {
    const { labels } = spec.template!.metadata;
    expect(ofKind("Service").spec.selector).toEqual(labels);
    expect(ofKind("PodDisruptionBudget").spec.selector).toEqual({ matchLabels: labels });
    expect(spec.selector).toEqual({ matchLabels: labels });
    expect(spec.serviceName).toBe(ofKind("Service").metadata.name);
    const { maxBytes } = configFrom(Object.fromEntries(container.env.map(({ name, value }) => [name, value])));
    const storage = spec.volumeClaimTemplates?.[0]?.spec.resources.requests.storage;
    const storageBytes = Number.parseInt(storage ?? "", 10) * 1024 ** 3;
    expect(storage).toMatch(/^\d+Gi$/);
    expect(maxBytes).toBeLessThanOrEqual(storageBytes * 0.95);
  });
});
