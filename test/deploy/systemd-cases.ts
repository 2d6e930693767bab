import { type ChildProcess, spawn } from "node:child_process";
import { hash, randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory } from "../support/temporary-directory.ts";
import { type DeployCase, freePort, problemsOf, run } from "./deploy-case.ts";
import { readText, readUnit, REPOSITORY } from "./deploy-files.ts";

const UNITS = ["kura.service", "kura.socket"] as const;
/** `systemd-analyze security` counts from 0 (nothing is allowed) to 10 (everything), in tenths here. */
const EXPOSURE_TENTHS_MAX = 15;
/** Short for a watchdog, long for a server that has to answer on a machine that does much else. */
const WATCHDOG_SECONDS = 8;
/** Against a hang. */
const PATIENCE_MS = 120_000;

const analyzeCases: DeployCase[] = [
  {
    name: "systemd-analyze verify: the units",
    run: async () => {
      await using directory = await makeTemporaryDirectory("deploy-systemd");
      // Its program, where it is looked for.
      const program = (readUnit().find(({ name }) => name === "ExecStart")?.value ?? "").split(" ", 1)[0]!;
      const here = join(directory.path, program);
      mkdirSync(dirname(here), { recursive: true });
      writeFileSync(here, "");
      chmodSync(here, 0o755);
      const paths = UNITS.map((unit) => {
        const path = join(directory.path, unit);
        const text = readText(`deploy/systemd/${unit}`).replaceAll("/opt/kura", join(directory.path, "opt/kura"));
        writeFileSync(path, text);
        return path;
      });
      const { code, output } = await run("systemd-analyze", ["verify", "--man=no", "--recursive-errors=no", ...paths]);
      const complaints = output.split("\n").filter((line) => UNITS.some((unit) => line.includes(unit)));
      return code === 0 ? complaints : [`exit code ${code}: ${output.slice(-1000)}`];
    },
  },
  {
    name: `systemd-analyze security: an exposure of at most ${EXPOSURE_TENTHS_MAX / 10}`,
    run: () => {
      const threshold = `--threshold=${EXPOSURE_TENTHS_MAX}`;
      return problemsOf("systemd-analyze", [
        "security",
        "--no-pager",
        "--offline=true",
        threshold,
        "deploy/systemd/kura.service",
      ]);
    },
  },
];

/** What is handed down, and what of the report tells of it. */
const REFUSED: readonly { listen: readonly string[]; extraArguments?: readonly string[]; told: string }[] = [
  { listen: ["unix"], told: "LISTEN_FDS: expected descriptor 3 to be a TCP socket" },
  { listen: ["tcp", "tcp"], told: "LISTEN_FDS: expected 1 socket" },
  { listen: ["tcp"], extraArguments: ["--listeners", "2"], told: "--listeners: expected 1 with a socket" },
];

const socketCases: DeployCase[] = [
  {
    name: "systemd-socket-activate: who connects before the start is served after it",
    run: async () => {
      await using directory = await makeTemporaryDirectory("deploy-socket");
      const port = await freePort();
      await using server = activate(directory.path, ["-l", `127.0.0.1:${port}`]);
      await untilPrinted(server, "Listening on");
      const listening = server.untilListening();
      const answer = await fetch(`http://127.0.0.1:${port}/readyz`);
      const problems = answer.status === 200 ? [] : [`/readyz answers ${answer.status}`];
      await listening;
      if (server.endpoint !== `127.0.0.1:${port}`) problems.push(`it serves on ${server.endpoint}`);
      if (!server.output.includes("(inherited socket)")) problems.push(`it does not say why: ${server.output}`);
      await server.stop();
      return problems;
    },
  },
  {
    name: "systemd-socket-activate: what cannot be served on is refused, with why",
    run: async () => {
      const problems: string[] = [];
      for (const { listen, extraArguments = [], told } of REFUSED) {
        await using directory = await makeTemporaryDirectory("deploy-socket");
        const places = await Promise.all(
          listen.map(async (kind) =>
            kind === "unix" ? join(directory.path, "socket") : `127.0.0.1:${await freePort()}`,
          ),
        );
        const flags = places.flatMap((place) => ["-l", place]);
        await using server = activate(directory.path, flags, extraArguments);
        await untilPrinted(server, "Listening on");
        const client = await run("python3", ["-c", CONNECT, ...places.slice(0, 1)]);
        if (client.code !== 0) problems.push(client.output);
        const { exitCode, output } = await server.ended();
        if (exitCode !== 1 || !output.includes(told)) problems.push(`${told}: exit code ${exitCode}: ${output}`);
      }
      return problems;
    },
  },
];

/** Connects to `HOST:PORT`, or to a path, and waits for the end of the connection. */
const CONNECT = `
import socket, sys
host, _, port = sys.argv[1].partition(":")
client = socket.socket(socket.AF_INET if port else socket.AF_UNIX)
client.connect((host, int(port)) if port else host)
try: client.recv(1)
except ConnectionError: pass`;

function activate(directory: string, listen: readonly string[], extraArguments: readonly string[] = []): ServerProcess {
  const wrapper = ["systemd-socket-activate", "-E", "PATH", ...listen];
  return ServerProcess.launch({ directory, wrapper, extraArguments });
}

async function untilPrinted(server: ServerProcess, text: string): Promise<void> {
  while (!server.output.includes(text)) {
    if (!server.running) throw new Error(server.output);
    await delay(5);
  }
}

const notifyCases: DeployCase[] = [
  {
    name: "systemd-notify: the start, a reload, the end, and that all live",
    run: async () => {
      await using directory = await makeTemporaryDirectory("deploy-notify");
      using manager = await Manager.start(directory.path);
      await using server = await ServerProcess.start({
        directory: join(directory.path, "data"),
        environment: manager.environment,
      });
      const problems = childProblems(server.pid);
      for (let round = 0; round < 3; round++) await manager.untilTold("WATCHDOG=1");
      process.kill(server.pid, "SIGHUP");
      await manager.untilTold("READY=1");
      await server.stop();
      await manager.untilTold("STOPPING=1");
      const told = manager.told.filter((assignments) => assignments !== "WATCHDOG=1" && assignments !== SILENT);
      const expected = [
        /^STATUS=starting$/,
        /^READY=1 STATUS=serving$/,
        /^RELOADING=1 MONOTONIC_USEC=\d+$/,
        /^READY=1$/,
        /^STOPPING=1 STATUS=draining/,
      ];
      const isExpected = told.length === expected.length && expected.every((line, i) => line.test(told[i] ?? ""));
      if (!isExpected) problems.push(`it was told ${JSON.stringify(told)}`);
      return problems;
    },
  },
  {
    name: "systemd-notify: silence where a shard worker is stuck",
    run: async () => {
      await using directory = await makeTemporaryDirectory("deploy-watchdog");
      using manager = await Manager.start(directory.path);
      await using server = await ServerProcess.start({
        directory: join(directory.path, "data"),
        environment: manager.environment,
        nodeArguments: [`--import=${join(REPOSITORY, "test/deploy/stall-shard-preload.ts")}`],
      });
      for (let round = 0; round < 3; round++) await manager.untilTold("WATCHDOG=1");
      process.kill(server.pid, "SIGUSR2");
      let isOver = false;
      const silence = manager.untilTold(SILENT).finally(() => (isOver = true));
      await Promise.all([silence, keepAwake(server, () => isOver)]);
      const { status } = await fetch(`http://${server.endpoint}/healthz`);
      return status === 200 ? [] : [`/healthz answers ${status}`];
    },
  },
];

const SILENT = "silent";

/** A worker with nothing to do sees no message but its next task: uploads are its tasks here, and some wait for good. */
async function keepAwake(server: ServerProcess, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    const body = randomBytes(100);
    const put = fetch(`http://${server.endpoint}/cas/${hash("sha256", body)}`, { method: "PUT", body });
    await Promise.race([put.catch(() => undefined), delay(100)]);
  }
}

/** A process that listens to notifications as systemd does. */
class Manager implements Disposable {
  /** What it was told, each notification with blanks between its assignments. */
  readonly told: string[] = [];
  readonly environment: Readonly<Record<string, string>>;
  readonly #child: ChildProcess;
  #seen = 0;

  private constructor(directory: string) {
    const path = join(directory, "notify");
    const script = join(REPOSITORY, "test/deploy/service-manager.py");
    const args = [script, path, `${WATCHDOG_SECONDS}`];
    this.environment = { NOTIFY_SOCKET: path, WATCHDOG_USEC: `${WATCHDOG_SECONDS * 1e6}` };
    this.#child = spawn("python3", args, { stdio: ["ignore", "pipe", "inherit"] });
    createInterface(this.#child.stdout!).on("line", (line) => {
      const told = JSON.parse(line) as string | string[];
      this.told.push(typeof told === "string" ? told : told.join(" "));
    });
  }

  static async start(directory: string): Promise<Manager> {
    const manager = new Manager(directory);
    await manager.untilTold("bound");
    manager.told.length = manager.#seen = 0;
    return manager;
  }

  /** Resolves with the next notification that has this in it. @throws where none comes. */
  async untilTold(assignment: string): Promise<void> {
    const giveUpMs = performance.now() + PATIENCE_MS;
    for (;;) {
      const found = this.told.findIndex((told, i) => i >= this.#seen && told.split(" ").includes(assignment));
      if (found >= 0) return void (this.#seen = found + 1);
      if (this.#child.exitCode !== null) throw new Error("the receiver of notifications has ended");
      if (performance.now() > giveUpMs) throw new Error(`never told ${assignment}, but ${JSON.stringify(this.told)}`);
      await delay(5);
    }
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}

/** What was meant for the server alone must not be with the shell that it starts: variables, and its sockets. */
function childProblems(pid: number): string[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
  return children.flatMap((child) => {
    const names = readFileSync(`/proc/${child}/environ`, "utf8")
      .split("\0")
      .map((pair) => pair.split("=", 1)[0]!);
    const open = readdirSync(`/proc/${child}/fd`).map((name) => readlinkSync(`/proc/${child}/fd/${name}`));
    const unwanted = names.filter((name) => /^(WATCHDOG|LISTEN|KURA)_/.test(name));
    // Its input is one: a pipe, as Node makes them.
    return open.filter((target) => target.startsWith("socket:")).length > 2 || unwanted.length > 0
      ? [`its child ${child} has ${JSON.stringify({ unwanted, open })}`]
      : [];
  });
}

export const SYSTEMD_CASES: readonly DeployCase[] = [...analyzeCases, ...socketCases, ...notifyCases];
