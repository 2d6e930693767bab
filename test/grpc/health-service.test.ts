import { once } from "node:events";
import { status } from "@grpc/grpc-js";
import { expect, test, vi } from "vitest";
import { healthService, type ReadinessSource } from "../../src/grpc/health-service.ts";
import { serveMethods, type ServiceClient, serviceClient } from "./service-client.ts";

const HEALTH = "grpc.health.v1.Health";
const SERVING = { status: 1 };
const NOT_SERVING = { status: 2 };
const SERVICE_UNKNOWN = { status: 3 };

class SwitchedReadiness implements ReadinessSource {
  ready: boolean;
  draining = false;
  readonly listeners = new Set<() => void>();

  constructor(ready: boolean) {
    this.ready = ready;
  }

  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  set(ready: boolean): void {
    this.ready = ready;
    for (const listener of this.listeners) listener();
  }
}

async function serve(readiness: ReadinessSource): Promise<ServiceClient> {
  const methods = healthService({ readiness, services: ["google.bytestream.ByteStream"] });
  return serviceClient(await serveMethods(methods), HEALTH);
}

test.each(["", "google.bytestream.ByteStream", HEALTH])("Check of %j follows the readiness", async (service) => {
  const readiness = new SwitchedReadiness(false);
  const health = await serve(readiness);
  expect(await health.unary("Check", { service })).toEqual(NOT_SERVING);
  readiness.set(true);
  expect(await health.unary("Check", { service })).toEqual(SERVING);
});

test("Check of an unknown service is NOT_FOUND and names it", async () => {
  const health = await serve(new SwitchedReadiness(true));
  await expect(health.unary("Check", { service: "no.Such" })).rejects.toMatchObject({
    code: status.NOT_FOUND,
    details: 'service: expected a service of this server, got "no.Such"',
  });
});

test("Watch tells the status now and every change, and lets go when the client does", async () => {
  const readiness = new SwitchedReadiness(false);
  const watch = (await serve(readiness)).serverStream("Watch", { service: "" });
  watch.on("error", () => {});
  expect(await once(watch, "data")).toEqual([NOT_SERVING]);
  readiness.set(true);
  expect(await once(watch, "data")).toEqual([SERVING]);
  // Told again without a change: nothing is sent, the next response is that of the next change.
  readiness.set(true);
  readiness.set(false);
  expect(await once(watch, "data")).toEqual([NOT_SERVING]);
  expect(readiness.listeners.size).toBe(1);
  watch.cancel();
  await vi.waitFor(() => expect(readiness.listeners.size).toBe(0), { timeout: 20_000, interval: 2 });
});

test.each(["", "no.Such"])("a drain ends the Watch of %j: it must not wait for watchers", async (service) => {
  const readiness = new SwitchedReadiness(true);
  const watch = (await serve(readiness)).serverStream("Watch", { service });
  const statuses: unknown[] = [];
  watch.on("data", (status: unknown) => statuses.push(status));
  await vi.waitFor(() => expect(statuses).toHaveLength(1), { timeout: 20_000, interval: 2 });
  readiness.draining = true;
  readiness.set(false);
  await once(watch, "end");
  expect(statuses.slice(1)).toEqual(service === "" ? [NOT_SERVING] : []);
  expect(readiness.listeners.size).toBe(0);
});

test("Watch of an unknown service says so and stays open", async () => {
  const readiness = new SwitchedReadiness(true);
  const health = await serve(readiness);
  const watch = health.serverStream("Watch", { service: "no.Such" });
  let ended = false;
  watch.on("error", () => {});
  watch.on("end", () => (ended = true));
  expect(await once(watch, "data")).toEqual([SERVICE_UNKNOWN]);
  expect(await health.unary("Check", { service: "" })).toEqual(SERVING);
  expect(ended).toBe(false);
  watch.cancel();
});
