import { describe, expect, it } from "vitest";
import { formatSettings, loadConfig } from "../../src/config.ts";
import type { ListeningAddress } from "../../src/service-manager/listening-address.ts";

const PID = 4711;
const HANDED_DOWN = { LISTEN_PID: `${PID}`, LISTEN_FDS: "1", LISTEN_FDNAMES: "kura.socket" };

function loadWith(environment: Record<string, string>, args: string[] = [], address?: ListeningAddress) {
  const listeningAddressOf = (descriptor: number) => (descriptor === 3 ? address : undefined);
  return loadConfig(args, environment, { pid: PID, listeningAddressOf });
}

function problemsWith(environment: Record<string, string>, ...args: string[]): readonly string[] {
  const invocation = loadWith(environment, args, { host: "::1", port: 7000 });
  return invocation.command === "refuse" ? invocation.problems : [];
}

describe("a watchdog", () => {
  const intervalOf = (environment: Record<string, string>) => {
    const invocation = loadWith({ NOTIFY_SOCKET: "/run/notify", ...environment });
    return invocation.command === "serve" ? invocation.service.watchdogIntervalMs : invocation;
  };

  it("is given in microseconds, to one process or to all", () => {
    expect(intervalOf({ WATCHDOG_USEC: "30000500" })).toBe(30_000.5);
    expect(intervalOf({ WATCHDOG_USEC: "30000500", WATCHDOG_PID: `${PID}` })).toBe(30_000.5);
    expect(intervalOf({ WATCHDOG_USEC: "30000500", WATCHDOG_PID: "12" })).toBeUndefined();
    expect(intervalOf({})).toBeUndefined();
    expect(intervalOf({ WATCHDOG_USEC: `${2n ** 64n - 1n}` })).toBe(86_400_000);
  });

  it("is a time", () => {
    for (const text of ["0", "-1", "30s", "1e9"]) {
      expect(problemsWith({ NOTIFY_SOCKET: "/run/notify", WATCHDOG_USEC: text })).toEqual([
        `WATCHDOG_USEC: expected microseconds, got ${JSON.stringify(text)}`,
      ]);
    }
  });
});

it("says nothing where its variables are empty, or there is nobody to hear of it", () => {
  const nothing = { socket: undefined, notify: undefined, watchdogIntervalMs: undefined };
  expect(loadWith({ LISTEN_FDS: "", NOTIFY_SOCKET: "", WATCHDOG_USEC: "" })).toMatchObject({ service: nothing });
  expect(loadWith({ WATCHDOG_USEC: "never" })).toMatchObject({ service: nothing });
});

describe("a socket that is handed down", () => {
  it("goes before every option about a port, and says so", () => {
    const args = ["config", "--port", "1", "--host", "127.0.0.2"];
    const invocation = loadWith({ ...HANDED_DOWN, KURA_PORT: "2" }, args, { host: "::1", port: 7000 });
    const socket = { descriptor: 3, host: "::1", port: 7000 };
    expect(invocation).toMatchObject({ config: { host: "::1", port: 7000 }, service: { socket } });
    if (invocation.command !== "config") throw new Error("no settings");
    const text = formatSettings(invocation.settings);
    expect(text).toMatch(/^host: ::1 +# inherited socket \(LISTEN_FDS\)$/m);
    expect(text).toMatch(/^port: "7000" +# inherited socket \(LISTEN_FDS\)$/m);
  });

  it("is nothing to a command that does not serve, and to a process that nobody gave one", () => {
    for (const invocation of [loadWith(HANDED_DOWN, ["verify", "/nonexistent"]), loadWith({ LISTEN_PID: "1" })]) {
      expect(invocation).toMatchObject({ config: { port: 9092 }, service: { socket: undefined } });
    }
  });

  it("has to be one socket, for this process", () => {
    expect(problemsWith({ ...HANDED_DOWN, LISTEN_FDS: "2" })).toEqual(['LISTEN_FDS: expected 1 socket, got "2"']);
    expect(problemsWith({ ...HANDED_DOWN, LISTEN_FDS: "one" })).toEqual(['LISTEN_FDS: expected 1 socket, got "one"']);
    const ofOthers = expect.stringMatching(/^LISTEN_PID: expected 4711, which is this process, got "12"; /);
    expect(problemsWith({ ...HANDED_DOWN, LISTEN_PID: "12" })).toEqual([ofOthers]);
    expect(problemsWith({ LISTEN_FDS: "1" })).toEqual([expect.stringContaining('got ""')]);
  });

  it("has to listen for TCP", () => {
    expect(loadWith(HANDED_DOWN)).toEqual({
      command: "refuse",
      problems: ["LISTEN_FDS: expected descriptor 3 to be a TCP socket that listens, in this network namespace"],
    });
  });

  it("is for one listener, and is reported with all else that is wrong", () => {
    expect(problemsWith(HANDED_DOWN, "--listeners", "2")).toEqual([
      expect.stringMatching(/^--listeners: expected 1 with a socket that is inherited .*, got 2$/),
    ]);
    expect(problemsWith({ ...HANDED_DOWN, LISTEN_FDS: "2" }, "--shards", "0")).toEqual([
      'LISTEN_FDS: expected 1 socket, got "2"',
      expect.stringContaining("--shards"),
    ]);
  });
});
