import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { pino } from "pino";
import { loadConfig } from "../../src/config.ts";
import { type KuraServer, startServer } from "../../src/server.ts";
import { MemoryEngine } from "./memory-engine.ts";

/** A server with everything but a disk, for tests of what it speaks over HTTP. */
export class HttpFixture implements AsyncDisposable {
  readonly engine: MemoryEngine;
  readonly server: KuraServer;
  /** `http://HOST:PORT` */
  readonly origin: string;

  private constructor(engine: MemoryEngine, server: KuraServer) {
    this.engine = engine;
    this.server = server;
    this.origin = `http://${server.endpoint}`;
  }

  /** @param args further options, as on the command line. */
  static async start(...args: string[]): Promise<HttpFixture> {
    const invocation = loadConfig(["--port", "0", "--dir", "/nonexistent", "--max-size", "1GiB", ...args], {});
    if (invocation.command !== "serve") throw new Error(JSON.stringify(invocation));
    const engine = new MemoryEngine();
    const openEngine = async (): Promise<MemoryEngine> => engine;
    return new HttpFixture(
      engine,
      await startServer(invocation.config, { logger: pino({ level: "silent" }), openEngine }),
    );
  }

  /** @returns the status and the whole body. */
  async fetch(path: string, init?: RequestInit): Promise<{ status: number; headers: Headers; body: Buffer }> {
    const response = await fetch(`${this.origin}${path}`, init);
    const { status, headers } = response;
    return { status, headers, body: Buffer.from(await response.arrayBuffer()) };
  }

  async put(path: string, body: Uint8Array | string, headers?: Record<string, string>): Promise<number> {
    const init = {
      method: "PUT",
      body: typeof body === "string" ? body : Buffer.from(body),
      ...(headers && { headers }),
    };
    return (await this.fetch(path, init)).status;
  }

  async dial(): Promise<Socket> {
    const socket = connect(Number(new URL(this.origin).port), "127.0.0.1");
    await once(socket, "connect");
    return socket;
  }

  /** Sends these bytes on a connection of their own. @returns everything that comes back until it is closed. */
  async exchange(...bytes: (string | Uint8Array)[]): Promise<string> {
    const socket = await this.dial();
    for (const part of bytes) socket.write(part);
    return text(socket);
  }

  /** The value of one line of `/metrics`; 0 where it is not there yet. */
  async metric(line: string): Promise<number> {
    const { body } = await this.fetch("/metrics");
    const found = body
      .toString()
      .split("\n")
      .find((candidate) => candidate.startsWith(`${line} `));
    return Number(found?.slice(line.length + 1) ?? 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.close(0);
  }
}
