import { describe, expect, it } from "vitest";
import { createCallMetrics } from "../../src/observability/call-metrics.ts";
import { Metrics, sumMetrics } from "../../src/observability/metrics.ts";

describe("Metrics", () => {
  it("counts calls by method and status, and times them", async () => {
    const metrics = new Metrics();
    const calls = createCallMetrics(metrics);
    for (const [code, durationMs] of [
      [0, 3],
      [5, 40],
      [99, 1],
    ] as const) {
      calls.started("/a.B/C");
      calls.finished("/a.B/C", code, durationMs);
    }
    calls.started("/a.B/C");
    await metrics.scrape();
    const text = await metrics.scrape();
    expect(text).toContain('kura_rpc_calls_total{method="/a.B/C",status="ok"} 1');
    expect(text).toContain('kura_rpc_calls_total{method="/a.B/C",status="notFound"} 1');
    expect(text).toContain('kura_rpc_calls_total{method="/a.B/C",status="99"} 1');
    expect(text).toContain('kura_rpc_duration_seconds_bucket{le="0.005",method="/a.B/C"} 2');
    expect(text).toContain('kura_rpc_duration_seconds_bucket{le="0.0005",method="/a.B/C"} 0');
    expect(text).toContain('kura_rpc_duration_seconds_bucket{le="+Inf",method="/a.B/C"} 3');
    expect(text).toContain('kura_rpc_duration_seconds_sum{method="/a.B/C"} 0.044');
    expect(text).toContain('kura_rpc_duration_seconds_count{method="/a.B/C"} 3');
    expect(text).toContain("# TYPE kura_rpc_duration_seconds histogram");
    expect(text).toContain("kura_rpc_in_flight 1");
  });

  it("counts look-ups and bytes by kind", async () => {
    const metrics = new Metrics();
    metrics.countLookups("find_missing", "miss", 7);
    metrics.countBytes("cas", "written", 1000);
    await metrics.scrape();
    metrics.countBytes("cas", "written", 24);
    const text = await metrics.scrape();
    expect(text).toContain('kura_lookups_total{kind="find_missing",result="miss"} 7');
    expect(text).toContain('kura_bytes_total{kind="cas",direction="written"} 1024');
  });

  it("looks up what the engine says at each scrape, with a label for each shard", async () => {
    const metrics = new Metrics();
    const figures = { bytesUsed: 0, shards: [{ syncsDone: 4 }, { syncsDone: 5 }] };
    metrics.onScrape(() => {
      figures.bytesUsed++;
      metrics.setEngineFigures(figures);
    });
    await metrics.scrape();
    const text = await metrics.scrape();
    expect(text).toContain("kura_engine_bytes_used 2");
    expect(text).toContain('kura_engine_shard_syncs_done{shard="1"} 5');
  });

  it("counts calls that were shed, from the first scrape on", async () => {
    const metrics = new Metrics();
    const calls = createCallMetrics(metrics);
    expect(await metrics.scrape()).toContain('kura_requests_shed_total{protocol="grpc",reason="room"} 0');
    for (const [code, shedBy] of [[8, "room"], [8, "memory"], [8, "room"], [5]] as const) {
      calls.started("/a.B/C");
      calls.finished("/a.B/C", code, 1, shedBy);
    }
    expect(await metrics.scrape()).toContain('kura_requests_shed_total{protocol="grpc",reason="room"} 2');
    expect(await metrics.scrape()).toContain('kura_requests_shed_total{protocol="grpc",reason="memory"} 1');
  });

  it("shows histograms that the engine keeps, as they are at each scrape", async () => {
    const metrics = new Metrics();
    metrics.setEngineHistograms({ groupPuts: [{ bounds: [1, 2], counts: [9, 9, 9], sum: 99 }] });
    metrics.setEngineHistograms({
      groupPuts: [
        { bounds: [1, 2], counts: [3, 4, 5], sum: 30.5 },
        { bounds: [1, 2], counts: [0, 1, 0], sum: 2 },
      ],
    });
    const text = await metrics.scrape();
    expect(text).toContain("# TYPE kura_engine_shard_group_puts histogram");
    for (const line of [
      'kura_engine_shard_group_puts_bucket{le="1",shard="0"} 3',
      'kura_engine_shard_group_puts_bucket{le="2",shard="0"} 7',
      'kura_engine_shard_group_puts_bucket{le="+Inf",shard="0"} 12',
      'kura_engine_shard_group_puts_sum{shard="0"} 30.5',
      'kura_engine_shard_group_puts_count{shard="0"} 12',
      'kura_engine_shard_group_puts_bucket{le="2",shard="1"} 1',
    ]) {
      expect(text).toContain(`${line}\n`);
    }
    expect(text).not.toContain(" 99");
  });

  it("keeps two servers in one process apart", async () => {
    const [one, other] = [new Metrics(), new Metrics()];
    one.countLookups("ac", "hit", 1);
    expect(await other.scrape()).not.toContain('kind="ac"');
  });

  it("adds up those of several threads, histograms and metrics of one thread alone included", async () => {
    const [one, other] = [new Metrics(), new Metrics()];
    for (const [count, metrics] of [one, other].entries()) {
      metrics.countLookups("ac", "hit", count + 1);
      const calls = createCallMetrics(metrics);
      calls.started("/a.B/C");
      calls.finished("/a.B/C", 0, 3);
    }
    one.instruments.ready.set(1);
    other.countBytes("cas", "read", 7);
    other.onScrape(() => other.setEngineFigures({ stagingMemoryBytes: 5, shards: [] }));
    // As a message between threads leaves them.
    const text = await sumMetrics(structuredClone([await one.values(), await other.values()]));
    for (const line of [
      'kura_lookups_total{kind="ac",result="hit"} 3',
      'kura_rpc_calls_total{method="/a.B/C",status="ok"} 2',
      'kura_rpc_duration_seconds_bucket{le="0.005",method="/a.B/C"} 2',
      'kura_rpc_duration_seconds_count{method="/a.B/C"} 2',
      'kura_bytes_total{kind="cas",direction="read"} 7',
      "kura_rpc_in_flight 0",
      "kura_ready 1",
      "kura_engine_staging_memory_bytes 5",
    ]) {
      expect(text).toContain(`${line}\n`);
    }
  });
});
