import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const REPOSITORY = fileURLToPath(new URL("../..", import.meta.url));
const LISTENING_LINE = /listening on (\S+:\d+)/;
const OUTPUT_CHARACTERS_MAX = 64 * 1024;

export interface ServerProcessOptions {
  readonly directory: string;
  /** As on the command line, such as `4GiB`. */
  readonly maxSize?: string;
  readonly durability?: "commit" | "relaxed";
  readonly shards?: number;
  /** Further command-line arguments. */
  readonly extraArguments?: readonly string[];
  readonly startTimeoutMs?: number;
}

/** A real server in a process of its own, on a free port of 127.0.0.1. It is killed with the object at the latest. */
export class ServerProcess implements AsyncDisposable {
  readonly pid: number;
  readonly #child: ChildProcess;
  readonly #exited: Promise<void>;
  readonly #killAtExit: () => void;
  #output = "";
  #endpoint = "";

  private constructor(options: ServerProcessOptions) {
    this.#child = spawn(process.execPath, commandLine(options), { cwd: REPOSITORY, stdio: ["ignore", "pipe", "pipe"] });
    if (this.#child.pid === undefined) throw new Error(`the server could not be started with ${process.execPath}`);
    this.pid = this.#child.pid;
    this.#killAtExit = () => void this.#child.kill("SIGKILL");
    process.once("exit", this.#killAtExit);
    this.#exited = once(this.#child, "exit").then(() => void process.removeListener("exit", this.#killAtExit));
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => this.#collect(text));
    }
  }

  /** @throws where the server exits, or does not listen before the deadline; the error holds what it printed. */
  static async start(options: ServerProcessOptions): Promise<ServerProcess> {
    const server = new ServerProcess(options);
    try {
      await server.#untilListening(options.startTimeoutMs ?? 30_000);
    } catch (cause) {
      await server.kill();
      throw cause;
    }
    return server;
  }

  /** Starts a server and kills it after `lifetimeMs`, whatever it has come to by then. */
  static async startAndKill(options: ServerProcessOptions, lifetimeMs: number): Promise<void> {
    const server = new ServerProcess(options);
    await new Promise((resolve) => setTimeout(resolve, lifetimeMs));
    await server.kill();
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

  async #untilListening(timeoutMs: number): Promise<void> {
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
  const line = ["--disable-warning=ExperimentalWarning", "src/main.ts", "--port", "0", "--dir", options.directory];
  line.push("--max-size", options.maxSize ?? "4GiB", "--durability", options.durability ?? "commit");
  if (options.shards !== undefined) line.push("--shards", `${options.shards}`);
  return [...line, ...(options.extraArguments ?? [])];
}
