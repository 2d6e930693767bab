/** `npm run bench -- --scaling`: curves over what can be had more of, and what they say of larger machines. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { formatRow } from "./bench-report.ts";
import type { BenchOptions, BenchRow } from "./bench-options.ts";
import { medianRun } from "./measurement.ts";
import { serverOptions } from "./server-options.ts";
import { ServerBench } from "./server-bench.ts";
import { CALLS_IN_FLIGHT, type CurveName, type FittedCurve, scalingChart, scalingFigures } from "./scaling-page.ts";
import { kura, type KuraSettings } from "./systems/kura.ts";
import { fitScalabilityLaw } from "./universal-scalability.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const PAGE = fileURLToPath(new URL("./SCALING.md", import.meta.url));
const CHART = fileURLToPath(new URL("./results/scaling.svg", import.meta.url));
const FIGURES = /(<!-- figures: .* -->\n)[^]*(<!-- figures end -->)/;

type Transfer = "upload" | "readBack";

interface Curve extends CurveName {
  readonly run: (options: BenchOptions, count: number, report: (row: BenchRow) => void) => Promise<void>;
}

/** Prints rows as they come, and writes the table of SCALING.md and its chart. */
export async function measureScaling(options: BenchOptions, settings: KuraSettings): Promise<void> {
  const fitted: FittedCurve[] = [];
  for (const curve of curves(settings)) {
    const rows: BenchRow[][] = curve.counts.map(() => []);
    for (let run = 0; run < options.runs; run++) {
      for (const [i, count] of curve.counts.entries()) {
        await curve.run(options, count, (row) => {
          rows[i]?.push(row);
          console.log(formatRow(row));
        });
      }
    }
    const medians = rows.map((runs) => medianRun(runs));
    const points = medians.map((row, i) => ({
      workers: curve.counts[i] ?? Number.NaN,
      ratePerSecond: row.operationsPerSecond,
    }));
    fitted.push({ curve, rows: medians, law: fitScalabilityLaw(points) });
  }
  const page = readFileSync(PAGE, "utf8");
  writeFileSync(
    PAGE,
    page.replace(FIGURES, (_, start: string, end: string) => `${start}${scalingFigures(fitted)}${end}`),
  );
  mkdirSync(dirname(CHART), { recursive: true });
  writeFileSync(CHART, scalingChart(fitted));
  console.log(`wrote ${PAGE}, ${CHART}`);
}

function curves(settings: KuraSettings): Curve[] {
  const all: Curve[] = [
    callsCurve("Write 128 KiB", "upload"),
    callsCurve("Read 128 KiB", "readBack"),
    connectionsCurve("Write 128 KiB x256", "upload"),
    connectionsCurve("Read 128 KiB x256", "readBack"),
    optionCurve("Write 128 KiB x32", "shards", "upload", settings),
  ];
  // Where this version of the server has them.
  if (!serverOptions().includes("--listeners")) return all;
  return [
    ...all,
    optionCurve("Write 128 KiB x32", "listeners", "upload", settings),
    optionCurve("Read 128 KiB x32", "listeners", "readBack", settings),
  ];
}

function callsCurve(name: string, operation: Transfer): Curve {
  return {
    name,
    unit: CALLS_IN_FLIGHT,
    counts: [1, 2, 4, 8, 16, 32, 64],
    run: (options, writers, report) =>
      transfer(options, operation, { writers, connections: Math.min(8, writers) }, report),
  };
}

function connectionsCurve(name: string, operation: Transfer): Curve {
  return {
    name,
    unit: "connections",
    counts: [1, 4, 16, 64, 256],
    run: (options, connections, report) => transfer(options, operation, { writers: 256, connections }, report),
  };
}

/** Over values of an option of the server. */
function optionCurve(name: string, unit: "shards" | "listeners", operation: Transfer, settings: KuraSettings): Curve {
  return {
    name,
    unit,
    counts: [1, 2, 3, 4],
    run: async (options, count, report) => {
      const system = kura({ ...settings, extraArguments: [`--${unit}`, `${count}`] });
      await transfer({ ...options, system }, operation, {}, report);
    },
  };
}

/** One row: uploads of 128 KiB, or reads of what was uploaded, on a fresh server that is warm. */
async function transfer(
  options: BenchOptions,
  operation: Transfer,
  load: { writers?: number; connections?: number },
  report: (row: BenchRow) => void,
): Promise<void> {
  await using bench = await ServerBench.start(options, report);
  const classes = [{ sizeBytes: 128 * KIB, weight: 1 }];
  await using warmUp = await bench.load(classes, 64 * MIB);
  await warmUp.run("upload");
  await warmUp.run("readBack");
  await using client = await bench.load(classes, options.runBytes, load);
  if (operation === "readBack") await client.run("upload");
  await bench.measure(`${operation === "upload" ? "Write" : "Read"} 128 KiB`, client, operation);
  await bench.stop();
}
