import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { CacheClient, digestOf } from "../support/cache-client.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { REPOSITORY, readText } from "./deploy-files.ts";

interface Dashboard {
  readonly uid: string;
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }[];
}
interface AlertRules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
}

/** Of a target, which Prometheus adds, and of histograms. */
const COMMON_LABELS = ["instance", "job", "le"];

let directory: TemporaryDirectory;
/** The labels of each metric that a running server shows, by name. */
let shown: Map<string, Set<string>>;

beforeAll(async () => {
  directory = await makeTemporaryDirectory("deploy-metrics");
  await using server = await ServerProcess.start({ directory: directory.path });
  using client = new CacheClient(server.endpoint);
  const blob = Buffer.from("a blob");
  await client.write(blob);
  await client.read(digestOf(blob));
  await client.getActionResult(digestOf(Buffer.from("an action")));
  await (await fetch(`http://${server.endpoint}/readyz`)).text();
  shown = metricsIn(await (await fetch(`http://${server.endpoint}/metrics`)).text());
  await server.stop();
});
afterAll(async () => {
  await directory[Symbol.asyncDispose]();
});

/** Names of samples and of metrics that have none yet, each with the labels of its samples. */
function metricsIn(text: string): Map<string, Set<string>> {
  const metrics = new Map<string, Set<string>>();
  for (const line of text.split("\n")) {
    const declared = /^# TYPE (\S+) (\S+)/.exec(line);
    if (declared !== null) metrics.set(declared[1]!, new Set());
    const [, name, labels = ""] = /^([a-z_]+)(?:\{(.*)\})? /.exec(line) ?? [];
    if (name === undefined) continue;
    const known = metrics.get(name) ?? new Set();
    for (const [, label] of labels.matchAll(/(\w+)="/g)) known.add(label!);
    metrics.set(name, known);
  }
  return metrics;
}

/** What of an expression no server shows. */
function unknownIn(expression: string): string[] {
  const unknown: string[] = [];
  for (const [, name, matchers = ""] of expression.matchAll(/\b(kura_\w+)(?:\{([^}]*)\})?/g)) {
    const labels = shown.get(name!);
    if (labels === undefined) unknown.push(name!);
    for (const [, label] of matchers.matchAll(/(\w+)\s*[=!]~?"/g)) {
      if (!COMMON_LABELS.includes(label!) && labels?.has(label!) === false) unknown.push(`${name}{${label}}`);
    }
  }
  return unknown;
}

const rules = (): AlertRules["groups"][number]["rules"] =>
  (parse(readText("deploy/prometheus/kura-alerts.yaml")) as AlertRules).groups.flatMap((group) => group.rules);

describe("what a running server shows at /metrics", () => {
  test("has every metric and label that the dashboard asks for", () => {
    const dashboard = JSON.parse(readText("deploy/grafana/kura-dashboard.json")) as Dashboard;
    const expressions = dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
    expect(expressions.length).toBeGreaterThan(20);
    expect(expressions.filter((expression) => !expression.includes("kura_"))).toEqual([]);
    expect(expressions.flatMap(unknownIn)).toEqual([]);
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("has every metric and label that an alert goes by", () => {
    const expressions = rules().map(({ expr }) => expr);
    expect(expressions.length).toBeGreaterThan(10);
    expect(expressions.flatMap(unknownIn)).toEqual([]);
  });

  test("has every metric that the README names", () => {
    const named = [...readText("README.md").matchAll(/`(kura_[^`]+)`/g)].map(([, expression]) => expression!);
    expect(named.length).toBeGreaterThan(5);
    expect(named.flatMap(unknownIn)).toEqual([]);
  });

  test("is told apart from what no server shows", () => {
    expect(unknownIn('rate(kura_nothing_total[5m]) + kura_ready + kura_lookups_total{colour="red",kind="ac"}')).toEqual(
      ["kura_nothing_total", "kura_lookups_total{colour}"],
    );
  });
});

test("every alert has a case in which it fires", () => {
  const cases = readFileSync(join(REPOSITORY, "test/deploy/kura-alerts.test.yaml"), "utf8");
  const fired = [...cases.matchAll(/alertname="(\w+)"/g)].map(([, name]) => name);
  expect(new Set(fired)).toEqual(new Set(rules().map(({ alert }) => alert)));
});
