import { describe, expect, it } from "vitest";
import { Readiness } from "../src/readiness.ts";

describe("Readiness", () => {
  it("starts unready and says why", () => {
    const { status, ready } = new Readiness();
    expect([status.state, ready]).toEqual(["starting", false]);
    expect(status.reason).toContain("starting");
  });

  it("tells its listeners of changes, and only of changes, until they unsubscribe", () => {
    const readiness = new Readiness();
    const seen: string[] = [];
    const unsubscribe = readiness.onChange(({ state, reason }) => seen.push(reason ?? state));
    readiness.serve();
    readiness.serve();
    readiness.serveReadsOnly("disk");
    readiness.serveReadsOnly("disk");
    readiness.serveReadsOnly("other disk");
    readiness.serve();
    unsubscribe();
    readiness.drain();
    expect(seen).toEqual(["serving", "read-only: disk", "read-only: other disk", "serving"]);
  });

  it("never leaves draining", () => {
    const readiness = new Readiness();
    readiness.drain();
    readiness.serve();
    readiness.serveReadsOnly("disk");
    expect(readiness.status.state).toBe("draining");
    expect(readiness.ready).toBe(false);
  });

  it("follows another's state, and tells of it, up to the drain", () => {
    const [leader, follower] = [new Readiness(), new Readiness()];
    leader.onChange((status) => follower.follow(status));
    const seen: string[] = [];
    follower.onChange(({ state }) => seen.push(state));
    leader.serve();
    leader.serveReadsOnly("disk");
    leader.serve();
    leader.drain();
    expect(seen).toEqual(["serving", "read_only", "serving", "draining"]);
    expect(follower.status).toEqual(leader.status);
  });
});
