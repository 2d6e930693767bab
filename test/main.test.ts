import { type ChildProcess, spawn } from "node:child_process";
import { hash } from "node:crypto";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { CacheClient, digestOf } from "./support/cache-client.ts";
import { StalledUpload } from "./support/stalled-upload.ts";
import { ToldManager } from "./support/told-manager.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "./support/temporary-directory.ts";

const REPOSITORY = fileURLToPath(new URL("..", import.meta.url));
const BLOB = Buffer.alloc(300_000, "main");

/** The command with what it has printed so far. */
class Kura {
  readonly child: ChildProcess;
  readonly exit: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  stdout = "";
  stderr = "";

  constructor(
    command: string,
    args: readonly string[],
    environment: Record<string, string>,
    descriptors: readonly number[] = [],
  ) {
    const env = { PATH: process.env["PATH"], HOME: process.env["HOME"], ...environment };
    // A group of its own, so that nothing that npm starts can be left behind.
    const options = { cwd: REPOSITORY, env, detached: true };
    this.child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe", ...descriptors] });
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text));
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => (this.stderr += text));
    this.exit = once(this.child, "close").then(() => {
      return { code: this.child.exitCode, signal: this.child.signalCode };
    });
  }

  async endpoint(): Promise<string> {
    return await this.#find(() => /listening on (\S+:\d+)/.exec(this.stdout)?.[1]);
  }

  async logged(text: string): Promise<string> {
    return await this.#find(() => (this.stderr.includes(text) ? text : undefined));
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  killGroup(): void {
    try {
      if (this.child.pid !== undefined) process.kill(-this.child.pid, "SIGKILL");
    } catch {
      // It is gone already.
    }
  }

  async #find(look: () => string | undefined): Promise<string> {
    for (;;) {
      const found = look();
      if (found !== undefined) return found;
      if (this.child.exitCode !== null) throw new Error(`the process has ended:\n${this.stdout}${this.stderr}`);
      await delay(5);
    }
  }
}

describe("the kura process", () => {
  let directory: TemporaryDirectory;
  const started: Kura[] = [];

  beforeAll(async () => {
    directory = await makeTemporaryDirectory("main");
  });
  afterEach(async () => {
    for (const kura of started.splice(0)) {
      kura.killGroup();
      await kura.exit;
    }
  });
  afterAll(async () => {
    await directory[Symbol.asyncDispose]();
  });

  function run(args: readonly string[], environment: Record<string, string> = {}): Kura {
    const kura = new Kura(process.execPath, ["src/main.ts", ...args], environment);
    started.push(kura);
    return kura;
  }

  function serve(...args: string[]): Kura {
    return run(["--port", "0", "--dir", directory.path, "--max-size", "1GiB", "--shards", "2", ...args]);
  }

  it("prints one line on stdout, exits 0 on SIGTERM, and serves after a restart what it had acknowledged", async () => {
    const first = serve();
    {
      using client = new CacheClient(await first.endpoint());
      await client.write(BLOB);
    }
    first.signal("SIGTERM");
    expect(await first.exit).toEqual({ code: 0, signal: null });
    expect(first.stdout).toMatch(/^kura \d+\.\d+\.\d+ listening on 127\.0\.0\.1:\d+\n$/);

    const second = serve();
    using client = new CacheClient(await second.endpoint());
    expect(await client.read(digestOf(BLOB))).toEqual(BLOB);
    second.signal("SIGINT");
    expect((await second.exit).code).toBe(0);
  });

  it("cuts a stalled upload after --drain-timeout and still exits 0", async () => {
    const kura = serve("--drain-timeout", "10ms");
    using upload = new StalledUpload(await kura.endpoint(), Buffer.alloc(1000, "stall"));
    await callInFlight(await kura.endpoint());
    kura.signal("SIGTERM");
    expect(await kura.exit).toEqual({ code: 0, signal: null });
    expect(await upload.outcome).not.toBe(0);
  });

  it("reads its files again on SIGHUP and goes on", async () => {
    const tokens = join(directory.path, "tokens");
    writeFileSync(tokens, "");
    const kura = serve("--auth-tokens", tokens);
    const endpoint = await kura.endpoint();
    const headers = { authorization: "Bearer secret" };
    expect((await fetch(`http://${endpoint}/status`, { headers })).status).toBe(401);
    writeFileSync(tokens, `ci:${hash("sha256", "secret")}`);
    kura.signal("SIGHUP");
    await kura.logged("were read again");
    // The token was refused just now, which was forgotten with the file.
    expect((await fetch(`http://${endpoint}/status`, { headers })).status).toBe(200);
    kura.signal("SIGTERM");
    expect(await kura.exit).toEqual({ code: 0, signal: null });
  });

  it("exits at once and not with 0 on a second signal", async () => {
    const kura = serve("--drain-timeout", "1h");
    using _upload = new StalledUpload(await kura.endpoint(), Buffer.alloc(1000, "stall again"));
    await callInFlight(await kura.endpoint());
    kura.signal("SIGTERM");
    await kura.logged("draining");
    // What follows within a tenth of a second counts as an echo of the first, so one more is sent until one counts.
    while (kura.child.exitCode === null) {
      kura.signal("SIGTERM");
      await delay(10);
    }
    expect((await kura.exit).code).toBe(143);
  });

  it.runIf(process.platform === "linux")("serves on a socket that it inherits", async () => {
    const socket = createServer().listen(0, "127.0.0.1");
    await once(socket, "listening");
    const { port } = socket.address() as AddressInfo;
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    const args = ["--port", "1", "--dir", directory.path, "--max-size", "1GiB", "--shards", "2"];
    const shell = ["-c", 'LISTEN_PID=$$ exec "$@"', "sh", process.execPath, "src/main.ts", ...args];
    const kura = new Kura("/bin/sh", shell, { LISTEN_FDS: "1" }, [fd]);
    started.push(kura);
    // It has a descriptor of its own by now, and nobody else is to take its connections.
    socket.close();
    expect(await kura.endpoint()).toBe(`127.0.0.1:${port}`);
    expect(kura.stdout).toMatch(/ \(inherited socket\)\n$/);
    expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200);
    kura.signal("SIGTERM");
    expect(await kura.exit).toEqual({ code: 0, signal: null });
  });

  it("tells its service manager what becomes of it, and survives a reload without files", async () => {
    const manager = new ToldManager(directory.path);
    const args = ["--port", "0", "--dir", join(directory.path, "managed"), "--max-size", "1GiB", "--shards", "2"];
    const kura = run(args, { ...manager.environment, WATCHDOG_USEC: "3600000000" });
    await kura.endpoint();
    await manager.untilTold("WATCHDOG=1");
    kura.signal("SIGHUP");
    await manager.untilTold("RELOADING=1");
    kura.signal("SIGTERM");
    expect(await kura.exit).toEqual({ code: 0, signal: null });
    await manager.untilTold("STOPPING=1");
    expect(manager.told).toEqual([
      ["STATUS=starting"],
      ["READY=1", "STATUS=serving"],
      ["WATCHDOG=1"],
      ["RELOADING=1", expect.stringMatching(/^MONOTONIC_USEC=\d+$/)],
      ["READY=1"],
      ["STOPPING=1", expect.stringMatching(/^STATUS=draining/)],
    ]);
  });

  it("reports every bad option and exits 1", async () => {
    const kura = run(["--port", "x", "--shards", "0"], { KURA_MAX_SIZE: "big" });
    expect((await kura.exit).code).toBe(1);
    expect(kura.stdout).toBe("");
    expect(kura.stderr).toContain(
      [
        "kura: cannot start",
        '  --port: expected a port from 0 to 65535, got "x"',
        '  KURA_MAX_SIZE: expected a size such as 512MiB or 10GiB, at least 32MiB, got "big"',
        '  --shards: expected a whole number from 1 to 64, got "0"',
        "",
      ].join("\n"),
    );
  });

  it("says in one line that the port is in use, or the directory, and exits 1", async () => {
    const holder = serve();
    const endpoint = await holder.endpoint();
    const port = endpoint.split(":")[1] ?? "";
    for (const [args, expected] of [
      [["--port", port], /^kura: .*address already in use 127\.0\.0\.1:\d+\n$/],
      [[], new RegExp(`^kura: .*${directory.path}.*\n$`)],
    ] as const) {
      const second = serve("--log-level", "silent", ...args);
      expect((await second.exit).code).toBe(1);
      expect([second.stdout, withoutNodeWarnings(second.stderr)]).toEqual(["", expect.stringMatching(expected)]);
    }
  });

  it("prints options, help and version, and exits 0", async () => {
    for (const [args, expected] of [
      [["config", "--port", "7"], /^port: "7" +# flag --port$/m],
      [["--help"], /^Usage: kura /m],
      [["--version"], /^\d+\.\d+\.\d+$/m],
    ] as const) {
      const kura = run(args);
      expect((await kura.exit).code).toBe(0);
      expect(kura.stdout).toMatch(expected);
    }
  });

  it.each([
    ["npm alone, as a supervisor sends it", "SIGTERM", 1],
    ["npm and the server at once, as Ctrl-C does", "SIGINT", -1],
  ] as const)("serves under npm start, and drains on a signal to %s", async (_who, signal, sign) => {
    const args = ["start", "--", "--port", "0", "--dir", directory.path, "--max-size", "1GiB"];
    const npm = new Kura("npm", args, {});
    started.push(npm);
    expect((await fetch(`http://${await npm.endpoint()}/readyz`)).status).toBe(200);
    process.kill(sign * (npm.child.pid ?? Number.NaN), signal);
    // 'close' comes when the server too has let go of the output: it is not left behind.
    await npm.exit;
    expect(npm.stderr).toContain('"msg":"closed"');
  });
});

/** Resolves when the server says that it is answering a call. */
async function callInFlight(endpoint: string): Promise<void> {
  for (;;) {
    const status = (await (await fetch(`http://${endpoint}/status`)).json()) as { callsInFlight: number };
    if (status.callsInFlight > 0) return;
  }
}

/** What Node itself says, such as that type stripping is new. */
function withoutNodeWarnings(text: string): string {
  return text.replaceAll(/^\(.*\n/gm, "");
}
