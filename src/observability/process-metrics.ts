import { readdirSync } from "node:fs";
import { performance } from "node:perf_hooks";
import process from "node:process";
import type { Metrics } from "./metrics.ts";

/** Looks up what the system and Node count anyhow, at each scrape. Called once a process. */
export function observeProcess(metrics: Metrics, descriptorsMax: number): void {
  const {
    residentBytes,
    cpuSeconds,
    startTime,
    openDescriptors,
    descriptorsMax: descriptorLimit,
  } = metrics.instruments;
  startTime.set(Math.round(performance.timeOrigin) / 1000);
  if (Number.isFinite(descriptorsMax)) descriptorLimit.set(descriptorsMax);
  const userSeconds = follow((seconds) => cpuSeconds.inc({ mode: "user" }, seconds));
  const systemSeconds = follow((seconds) => cpuSeconds.inc({ mode: "system" }, seconds));
  metrics.onScrape(() => {
    const { user, system } = process.cpuUsage();
    userSeconds(user / 1e6);
    systemSeconds(system / 1e6);
    residentBytes.set(process.memoryUsage.rss());
    openDescriptors.set(openDescriptorCount());
  });
}

/** Called in the thread of each listener. */
export function observeListenerThread(metrics: Metrics, listenerIndex: number): void {
  const labels = { listener: String(listenerIndex) };
  const activeSeconds = follow((seconds) => metrics.instruments.listenerActiveSeconds.inc(labels, seconds));
  metrics.onScrape(() => activeSeconds(performance.eventLoopUtilization().active / 1000));
}

/** Makes a running total that somebody else keeps into what prom-client's counters take. */
function follow(add: (amount: number) => void): (total: number) => void {
  let before = 0;
  return (total) => {
    add(Math.max(0, total - before));
    before = total;
  };
}

function openDescriptorCount(): number {
  try {
    // Linux, and others. One of them is that of the folder itself.
    return readdirSync("/dev/fd").length - 1;
  } catch {
    return 0;
  }
}
