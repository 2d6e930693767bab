import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import type { RunningSystem, SystemOptions } from "./system.ts";

const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 30_000;
const RETRY_MS = 20;
const OUTPUT_CHARACTERS_MAX = 4096;

/** A free port of 127.0.0.1, for programs that cannot pick one themselves. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Another project's server as a child process: started, waited for until it accepts, ended by its id. */
export class PeerProcess implements RunningSystem {
  readonly endpoint: string;
  readonly pid: number;
  readonly documentRoot?: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #killAtExit: () => void;
  #output = "";

  private constructor(child: ChildProcess, port: number, documentRoot: string | undefined) {
    if (child.pid === undefined) throw new Error(`${child.spawnfile} could not be started`);
    this.#child = child;
    this.pid = child.pid;
    this.endpoint = `127.0.0.1:${port}`;
    if (documentRoot !== undefined) this.documentRoot = documentRoot;
    this.#killAtExit = () => void child.kill("SIGKILL");
    process.once("exit", this.#killAtExit);
    this.#exited = once(child, "exit").then(() => process.removeListener("exit", this.#killAtExit));
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_CHARACTERS_MAX);
      });
    }
  }

  /** @throws where it ends, or does not accept connections on the port in time; the error has what it printed. */
  static async start(
    command: readonly string[],
    port: number,
    { directory, wrapper }: SystemOptions,
    documentRoot?: string,
  ): Promise<PeerProcess> {
    const [program = "", ...rest] = [...wrapper, ...command];
    const child = spawn(program, rest, { cwd: directory, stdio: ["ignore", "pipe", "pipe"] });
    child.on("error", () => undefined);
    const peer = new PeerProcess(child, port, documentRoot);
    const deadline = performance.now() + START_TIMEOUT_MS;
    while (!(await accepts(port))) {
      const hasEnded = child.exitCode !== null || child.signalCode !== null;
      if (!hasEnded && performance.now() < deadline) await delay(RETRY_MS);
      else {
        await peer[Symbol.asyncDispose]();
        throw new Error(`${program} does not listen on port ${port}:\n${peer.#output}`);
      }
    }
    return peer;
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect({ host: "127.0.0.1", port });
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
