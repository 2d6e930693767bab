import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { parseAllDocuments } from "yaml";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { type DeployCase, freePort, problemsOf, run, TIMEOUT_MS } from "./deploy-case.ts";
import { readDockerfile, readText, REPOSITORY } from "./deploy-files.ts";
import { SYSTEMD_CASES } from "./systemd-cases.ts";

const KUBERNETES_MODELS = "kubernetes-models@4.5.1";

const prometheusCases: DeployCase[] = [
  {
    name: "promtool: the alert rules are rules",
    run: () => problemsOf("promtool", ["check", "rules", "deploy/prometheus/kura-alerts.yaml"]),
  },
  {
    name: "promtool: each alert fires on what it is for, and not on what is well",
    run: () => problemsOf("promtool", ["test", "rules", "test/deploy/kura-alerts.test.yaml"]),
  },
  {
    name: "promtool: the configuration of Prometheus, with the files that it names",
    run: () => problemsOf("promtool", ["check", "config", "deploy/prometheus/prometheus.yaml"]),
  },
  {
    name: "promtool: what a running server shows at /metrics can be parsed",
    run: async () => {
      await using directory = await makeTemporaryDirectory("deploy-promtool");
      await using server = await ServerProcess.start({ directory: directory.path });
      const metrics = await (await fetch(`http://${server.endpoint}/metrics`)).text();
      await server.stop();
      const { code, output } = await run("promtool", ["check", "metrics"], metrics);
      // 3: it parses, and there are names that others would choose otherwise.
      return code === 0 || code === 3 ? [] : [`exit code ${code}: ${output.slice(-1000)}`];
    },
  },
];

const composeCase: DeployCase = {
  name: "docker-compose: the services, by its schema",
  run: () => problemsOf("docker-compose", ["-f", "deploy/compose.yaml", "config", "--quiet"]),
};

/** Runs in the folder that the models are installed in: reads manifests as JSON, prints what is wrong with each. */
const KUBERNETES_CHECK = `
  import { text } from "node:stream/consumers";
  import { StatefulSet } from "kubernetes-models/apps/v1";
  import { PodDisruptionBudget } from "kubernetes-models/policy/v1";
  import { Service } from "kubernetes-models/v1";
  const models = { StatefulSet, PodDisruptionBudget, Service };
  for (const manifest of JSON.parse(await text(process.stdin))) {
    try {
      new models[manifest.kind](manifest).validate();
    } catch (error) {
      console.log(manifest.kind, String(error));
    }
  }`;

const kubernetesCase: DeployCase = {
  name: "Kubernetes: the manifests, by its schemas, which see a wrong one",
  run: async () => {
    await using directory = await makeTemporaryDirectory("deploy-kubernetes");
    const options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    execFileSync("npm", ["install", "--prefix", directory.path, ...options, KUBERNETES_MODELS], {
      timeout: TIMEOUT_MS,
    });
    const script = join(directory.path, "check.mjs");
    writeFileSync(script, KUBERNETES_CHECK);
    const manifests = parseAllDocuments(readText("deploy/kubernetes/kura.yaml")).map((one) => one.toJS() as Manifest);
    const found = await run(process.execPath, [script], JSON.stringify(manifests));
    const problems = found.code === 0 && found.output === "" ? [] : [found.output];
    const wrong = manifests.map((each) =>
      each.kind === "StatefulSet" ? { ...each, spec: { replicas: "one" } } : each,
    );
    const seen = await run(process.execPath, [script], JSON.stringify(wrong));
    if (!seen.output.includes("StatefulSet")) problems.push(`a wrong manifest was not seen: ${seen.output}`);
    return problems;
  },
};

interface Manifest {
  readonly kind: string;
  readonly spec: object;
}

/**
 * What `docker build` and `docker run --read-only` would do, as far as it goes without Docker: the same files, the same
 * `npm ci`, the same command, user and health check, in a mount namespace in which nothing but the data can be written.
 */
const imageCase: DeployCase = {
  name: "the image's steps: read-only, not root, healthy, ends with 0 on SIGTERM",
  run: async () => {
    const { copied, commandOf, valueOf, environment } = readDockerfile();
    await using directory = await makeTemporaryDirectory("deploy-image");
    const [root, data] = [join(directory.path, "kura"), join(directory.path, "data")];
    for (const path of copied) cpSync(join(REPOSITORY, path), join(root, path), { recursive: true });
    const install = ["ci", "--omit=dev", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error"];
    execFileSync("npm", install, { cwd: root, timeout: TIMEOUT_MS, stdio: ["ignore", "ignore", "inherit"] });
    const [user = 0, group = 0] = valueOf("USER").split(":").map(Number);
    mkdirSync(data);
    chownSync(data, user, group);
    chmodSync(directory.path, 0o755);
    const here = { KURA_HOST: "127.0.0.1", KURA_PORT: await freePort(), KURA_DIR: data, KURA_MAX_SIZE: "1GiB" };
    const settings = { ...environment, ...here };
    const [, ...args] = commandOf("ENTRYPOINT");
    const confined = [
      "--reuid",
      `${user}`,
      "--regid",
      `${group}`,
      "--clear-groups",
      "--no-new-privs",
      "--bounding-set=-all",
    ];
    const shell = `set -e
      mount --make-rprivate /
      mount --bind "$DATA" "$DATA"
      for point in $(awk '{ print $5 }' /proc/self/mountinfo | grep -v -e ^/proc -e ^/sys -e ^/dev); do
        [ "$point" = "$DATA" ] || mount -o remount,bind,ro "$point" 2> /dev/null || true
      done
      if touch "$ROOT/written" 2> /dev/null; then echo "the root can be written to" >&2; exit 1; fi
      exec setpriv ${confined.join(" ")} "$NODE" "$@"`;
    const server = spawn("unshare", ["--mount", "sh", "-c", shell, "sh", ...args], {
      cwd: root,
      env: { PATH: process.env["PATH"], NODE: process.execPath, DATA: data, ROOT: root, ...settings },
      stdio: ["ignore", "pipe", "pipe"],
    });
    try {
      return await judgeImage(server, commandOf("HEALTHCHECK").slice(1), settings);
    } finally {
      server.kill("SIGKILL");
    }
  },
};

async function judgeImage(
  server: ChildProcess,
  healthCheck: readonly string[],
  settings: Record<string, string>,
): Promise<string[]> {
  const timer = setTimeout(() => server.kill("SIGKILL"), 60_000);
  const errors = text(server.stderr!);
  let printed = "";
  for await (const chunk of server.stdout!.setEncoding("utf8")) {
    printed += chunk;
    if (printed.includes("listening on")) break;
  }
  const problems = printed.includes("listening on") ? [] : [`it did not listen: ${await errors}`];
  const healthy = await new Promise<boolean>((resolve) => {
    execFile(process.execPath, healthCheck, { env: settings, timeout: 10_000 }, (error) => resolve(error === null));
  });
  if (!healthy) problems.push("its health check fails");
  server.kill("SIGTERM");
  if (server.exitCode === null) await once(server, "exit");
  clearTimeout(timer);
  if (server.exitCode !== 0) problems.push(`exit code ${server.exitCode}: ${await errors}`);
  const unhealthy = await new Promise<boolean>((resolve) => {
    execFile(process.execPath, healthCheck, { env: settings, timeout: 10_000 }, (error) => resolve(error !== null));
  });
  if (!unhealthy) problems.push("its health check is content with a server that has ended");
  return problems;
}

export const DEPLOY_CASES: readonly DeployCase[] = [
  ...prometheusCases,
  ...SYSTEMD_CASES,
  composeCase,
  kubernetesCase,
  imageCase,
];
