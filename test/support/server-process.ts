import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
const LISTENING_LINE = /listening on (\S+:\d+)/;
/** As `npm start` does it. */
const STARTED_WITH = {
  NODE_COMPILE_CACHE: "node_modules/.cache/kura",
  MALLOC_ARENA_MAX: "2",
};
const OUTPUT_CHARACTERS_MAX = 64 * 1024;

export interface ServerProcessOptions {
  readonly directory: string;
  /** As on the command line, such as `4GiB`. */
  readonly maxSize?: string;
  readonly durability?: "commit" | "relaxed";
  readonly shards?: number;
  /** Further command-line arguments. */
  readonly extraArguments?: readonly string[];
  /** Of Node itself, such as `--import=FILE`, which counts for every thread. */
  readonly nodeArguments?: readonly string[];
  /** A command that becomes the server by `exec`, such as `prlimit --nofile=64`: the process id stays the same. */
  readonly wrapper?: readonly string[];
  /** On top of this process's own. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly startTimeoutMs?: number;
}

/** How a process ended, and what it had printed by then. */
export interface ProcessEnd {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly output: string;
}

/** A real server in a process of its own, on a free port of 127.0.0.1. It is killed with the object at the latest. */
export class ServerProcess implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #closed: Promise<unknown>;
  readonly #killAtExit: () => void;
  #output = "";
  #endpoint = "";

  private constructor(options: ServerProcessOptions) {
    const [program = "", ...rest] = [...(options.wrapper ?? []), process.execPath, ...commandLine(options)];
    const env = { ...process.env, ...options.environment };
    this.#child = spawn(program, rest, {
      cwd: REPOSITORY,
      env: { ...env, ...STARTED_WITH },
      stdio: ["ignore", "pipe", "pipe"],
    });
    if (this.#child.pid === undefined) throw new Error(`the server could not be started with ${process.execPath}`);
    this.pid = this.#child.pid;
    this.#killAtExit = () => void this.#child.kill("SIGKILL");
    process.once("exit", this.#killAtExit);
    this.#exited = once(this.#child, "exit").then(() => void process.removeListener("exit", this.#killAtExit));
    this.#closed = once(this.#child, "close");
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => this.#collect(text));
    }
  }

  /** @throws where the server exits, or does not listen before the deadline; the error holds what it printed. */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    const server = ServerProcess.launch(options);
    await server.untilListening(options.startTimeoutMs);
    return server;
  }

  /** Starts the process and does not wait for what comes of it. */
  static launch(options: ServerProcessOptions): ServerProcess {
    return new ServerProcess(options);
  }

  /** Starts a server and kills it after `lifetimeMs`, whatever it has come to by then. */
  static async startAndKill(options: ServerProcessOptions, lifetimeMs: number): Promise<void> {
    const server = new ServerProcess(options);
    await new Promise((resolve) => setTimeout(resolve, lifetimeMs));
    await server.kill();
  }

  /** For a server that is expected to refuse: waits for its end, and kills it after `patienceMs`. */
  static async runToExit(options: ServerProcessOptions, patienceMs = 30_000): Promise<ProcessEnd> {
    const server = new ServerProcess(options);
    const timer = setTimeout(() => server.#child.kill("SIGKILL"), patienceMs);
    const end = await server.ended();
    clearTimeout(timer);
    return end;
  }

  /** Resolves when the process is gone, for whatever reason, and has said all that it had to say. */
  async ended(): Promise<ProcessEnd> {
    await this.#closed;
    return { exitCode: this.#child.exitCode, signal: this.#child.signalCode, output: this.#output };
  }

  /** `127.0.0.1:PORT` */
  get endpoint(): string {
    return this.#endpoint;
  }

  /** The end of what the server has printed, stdout and stderr together. */
  get output(): string {
    return this.#output;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** SIGTERM. @throws where the server does not drain and exit 0 in time; it is killed then. */
  async stop(timeoutMs = 30_000): Promise<void> {
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), timeoutMs);
    await this.#exited;
    clearTimeout(timer);
    if (this.#child.exitCode !== 0) throw new Error(`the server did not exit 0 after SIGTERM: ${this.#describeExit()}`);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  #collect(text: string): void {
    this.#output = (this.#output + text).slice(-OUTPUT_CHARACTERS_MAX);
  }

  /** @throws where the server exits, or does not listen before the deadline; it is killed then. */
  async untilListening(timeoutMs = 30_000): Promise<void> {
    try {
      await this.#listening(timeoutMs);
    } catch (cause) {
      await this.kill();
      throw cause;
    }
  }

  async #listening(timeoutMs: number): Promise<void> {
    const listening = Promise.withResolvers<void>();
    const timer = setTimeout(
      () => listening.reject(new Error(`the server did not listen within ${timeoutMs} ms:\n${this.#output}`)),
      timeoutMs,
    );
    let printed = "";
    const findEndpoint = (text: string): void => {
      printed += text;
      const endpoint = LISTENING_LINE.exec(printed)?.[1];
      if (endpoint === undefined) return;
      this.#endpoint = endpoint;
      this.#child.stdout?.off("data", findEndpoint);
      listening.resolve();
    };
    this.#child.stdout?.on("data", findEndpoint);
    // 'close' comes after the last output, so that the error can show it.
    this.#child.once("close", () => {
      listening.reject(new Error(`the server ended before it listened: ${this.#describeExit()}`));
    });
    await listening.promise.finally(() => clearTimeout(timer));
  }

  #describeExit(): string {
    return `exit code ${this.#child.exitCode}, signal ${this.#child.signalCode}\n${this.#output}`;
  }
}

function commandLine(options: ServerProcessOptions): string[] {
  const line = [
    "--max-semi-space-size=4",
    "--disable-warning=ExperimentalWarning",
    ...(options.nodeArguments ?? []),
    "src/main.ts",
    "--port",
    "0",
    "--dir",
    options.directory,
  ];
  line.push("--max-size", options.maxSize ?? "4GiB", "--durability", options.durability ?? "commit");
  if (options.shards !== undefined) line.push("--shards", `${options.shards}`);
  return [...line, ...(options.extraArguments ?? [])];
}
