import { once } from "node:events";
import { Agent, get } from "node:http";
import { connect, createServer, type Server, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterEach, describe, expect, it, vi } from "vitest";
import { CacheError } from "../../src/cache/cache-error.ts";
import type { EntryContent, LentPiece } from "../../src/cache/entry-store.ts";
import { sendContent } from "../../src/http/content-response.ts";
import { HttpServer, type HttpServerLimits } from "../../src/http/http-server.ts";
import { type HttpRoutes, sendText } from "../../src/http/http-router.ts";
import { statusRoutes } from "../../src/http/status-routes.ts";
import { OPEN } from "../../src/http/route-access.ts";
import { OutputBudget } from "../../src/http2/output-budget.ts";
import { type LoopTurns, sendTurns } from "../../src/http2/loop-turns.ts";
import { Metrics } from "../../src/observability/metrics.ts";
import type { ObservedRequest } from "../../src/observability/request-observer.ts";
import { Readiness } from "../../src/readiness.ts";

const WAIT = { timeout: 20_000, interval: 2 };

describe("HttpServer", () => {
  let readiness: Readiness;
  const faults: [string, unknown, ObservedRequest][] = [];
  let observed: object[] = [];
  let listener: Server | undefined;
  let server: HttpServer;
  let origin = "";
  let outputBudget: OutputBudget;
  let turns: LoopTurns;

  async function listen(routes: HttpRoutes = () => {}, limits: Partial<HttpServerLimits> = {}): Promise<string> {
    readiness = new Readiness();
    const metrics = new Metrics();
    const status = statusRoutes({
      readiness,
      process: { scrape: () => metrics.scrape(), describe: () => ({ version: "1.2.3" }) },
      statusRole: "reader",
    });
    outputBudget = new OutputBudget(8 * 1024 * 1024);
    turns = sendTurns();
    server = new HttpServer({
      outputBudget,
      turns,
      protocols: { status, test: routes },
      metrics,
      limits,
      reportFault: (...fault) => faults.push(fault),
      observe: (request) => (outcome) => observed.push({ ...outcome, id: request.id, protocol: request.protocol }),
    });
    server.serve({});
    listener = createServer({ allowHalfOpen: true }, (socket) => server.accept(socket));
    await once(listener.listen(0, "127.0.0.1"), "listening");
    const address = listener.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    origin = `http://127.0.0.1:${address.port}`;
    return origin;
  }

  async function dial(): Promise<Socket> {
    const socket = connect(Number(new URL(origin).port), "127.0.0.1");
    await once(socket, "connect");
    return socket;
  }

  afterEach(() => {
    server.drain();
    listener?.close();
  });

  it("says that it is alive whatever its readiness", async () => {
    await listen();
    expect((await fetch(`${origin}/healthz`)).status).toBe(200);
  });

  it("follows the readiness at /readyz and gives the reason", async () => {
    await listen();
    const ask = async () => {
      const response = await fetch(`${origin}/readyz`);
      return [response.status, await response.text()];
    };
    expect(await ask()).toEqual([503, "starting: the store is being opened\n"]);
    readiness.serve();
    expect(await ask()).toEqual([200, "serving\n"]);
    readiness.serveReadsOnly("the disk fails");
    expect(await ask()).toEqual([503, "read-only: the disk fails\n"]);
    readiness.serve();
    expect((await ask())[0]).toBe(200);
    readiness.drain();
    readiness.serve();
    expect(await ask()).toEqual([503, "draining: the process is about to exit\n"]);
  });

  it("describes itself as JSON at /status", async () => {
    await listen();
    const response = await fetch(`${origin}/status`);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(await response.json()).toMatchObject({ version: "1.2.3", state: "starting" });
  });

  it("counts its own requests at /metrics", async () => {
    await listen();
    await (await fetch(`${origin}/nothing-here`)).text();
    const response = await fetch(`${origin}/metrics`);
    expect(response.headers.get("content-type")).toContain("text/plain; version=0.0.4");
    expect(await response.text()).toMatch(/^kura_http_requests_total\{protocol="none",method="GET",status="404"\} 1$/m);
  });

  it("times requests, counts those that it sheds, and tells its observer how each has ended", async () => {
    observed = [];
    await listen((router) =>
      router.route("GET", "/busy", OPEN, () => {
        throw new CacheError("resource_exhausted", "too many");
      }),
    );
    await (await fetch(`${origin}/busy`, { headers: { "x-request-id": "build-7" } })).text();
    const metrics = await (await fetch(`${origin}/metrics`)).text();
    expect(metrics).toContain('kura_requests_shed_total{protocol="http",reason="room"} 1');
    expect(metrics).toContain('kura_http_request_duration_seconds_count{protocol="test"} 1');
    const ended = { id: "build-7", protocol: "test", status: "429", isServerFault: false };
    expect(observed[0]).toMatchObject({ ...ended, durationMs: expect.any(Number) });
  });

  it("answers HEAD like GET, with the length and without the body", async () => {
    await listen();
    const socket = await dial();
    socket.end("HEAD /healthz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    const answer = await text(socket);
    expect(answer).toContain("HTTP/1.1 200 OK");
    expect(answer).toContain("content-length: 6");
    expect(answer.endsWith("\r\n\r\n")).toBe(true);
  });

  it("answers an unknown path with 404", async () => {
    await listen();
    const response = await fetch(`${origin}/nope?x=1`);
    expect([response.status, await response.text()]).toEqual([404, 'path: nothing is at "/nope?x=1"\n']);
  });

  it("answers another method with 405 and the allowed ones", async () => {
    await listen((router) => router.route("PUT", "/healthz", OPEN, ({ response }) => sendText(response, 200, "put\n")));
    const response = await fetch(`${origin}/healthz`, { method: "DELETE" });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD, PUT"]);
    const odd = await fetch(`${origin}/metrics`, { method: "PROPFIND" });
    expect([odd.status, odd.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
  });

  it("answers broken percent-encoding with 400", async () => {
    await listen();
    const response = await fetch(`${origin}/%zz`);
    expect([response.status, await response.text()]).toEqual([
      400,
      'path: expected valid percent-encoding, got "/%zz"\n',
    ]);
  });

  it("turns a CacheError into its status, with Retry-After where it passes by itself", async () => {
    await listen((router) =>
      router.route("GET", "/busy/:name", OPEN, async ({ params }) => {
        throw new CacheError("resource_exhausted", `${params["name"]} is busy`, { retryAfterMs: 1500 });
      }),
    );
    const response = await fetch(`${origin}/busy/staging`);
    expect([response.status, response.headers.get("retry-after"), await response.text()]).toEqual([
      429,
      "2",
      "staging is busy\n",
    ]);
  });

  it("answers an unknown fault with 500 and a reference, keeps the cause to itself, and goes on", async () => {
    await listen((router) =>
      router.route("GET", "/fault", OPEN, () => {
        throw new TypeError("secret path /var/lib");
      }),
    );
    const response = await fetch(`${origin}/fault?token=secret`, { headers: { "x-request-id": "of the client" } });
    const body = await response.text();
    const [reference, cause, request] = faults.at(-1) ?? [];
    expect(request).toMatchObject({ method: "GET", path: "/fault", id: expect.stringMatching(/^[0-9a-f]{16}$/) });
    expect([response.status, body]).toEqual([500, `internal error, reference ${reference}\n`]);
    expect(String(cause)).toContain("secret path");
    expect((await fetch(`${origin}/healthz`)).status).toBe(200);
  });

  it("breaks the connection when an answer fails halfway", async () => {
    await listen((router) =>
      router.route("GET", "/half", OPEN, ({ response }) => {
        response.writeHead(200, { "content-length": 10 });
        response.write("12345");
        throw new Error("the rest is gone");
      }),
    );
    const outcome = fetch(`${origin}/half`).then((response) => response.text());
    await expect(outcome).rejects.toThrow("terminated");
  });

  it("closes a connection that sends its headers too slowly", async () => {
    // Long enough for the beginning to have been read on a busy machine: what arrives after the answer resets the connection.
    await listen(undefined, { headersTimeoutMs: 1000 });
    const socket = await dial();
    socket.write("GET /healthz HTTP/1.1\r\nx: ");
    expect(await text(socket)).toContain("408 Request Timeout");
  });

  it("refuses headers over the limit with 431", async () => {
    await listen(undefined, { headerBytesMax: 1024 });
    const socket = await dial();
    socket.write(`GET /healthz HTTP/1.1\r\nx: ${"y".repeat(2048)}\r\n\r\n`);
    expect(await text(socket)).toContain("431 Request Header Fields Too Large");
  });

  it("closes a kept-alive connection that stays unused", async () => {
    await listen(undefined, { keepAliveTimeoutMs: 1 });
    const socket = await dial();
    socket.write("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
    expect(await text(socket)).toContain("alive");
  });

  it("finishes the answer under way when it drains, then closes, and closes idle connections at once", async () => {
    const arrived = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    await listen((router) =>
      router.route("GET", "/slow", OPEN, async ({ response }) => {
        arrived.resolve();
        await release.promise;
        sendText(response, 200, "done\n");
      }),
    );
    const agent = new Agent({ keepAlive: true });
    const [idle] = (await once(get(`${origin}/healthz`, { agent }), "response")) as [NodeJS.ReadableStream];
    await text(idle);
    const busy = await dial();
    busy.write("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    await arrived.promise;
    server.drain();
    const late = await dial();
    expect(await text(late.on("error", () => {})).catch(() => "")).toBe("");
    release.resolve();
    const answer = await text(busy);
    expect(answer).toContain("connection: close");
    expect(answer).toContain("done");
    listener?.close();
    await once(listener ?? agent, "close");
  });

  /** More than the system's own buffers take. */
  const value = Buffer.alloc(30_000_000, "v");
  const content: EntryContent = {
    sizeBytes: value.length,
    encoding: "identity",
    bytes: () => value,
    close: () => {},
    async *[Symbol.asyncIterator]() {
      for (let at = 0; at < value.length; at += 100_000) yield value.subarray(at, at + 100_000);
    },
  };
  const serveContent: HttpRoutes = (router) =>
    router.route("GET", "/value", OPEN, (exchange) => sendContent(exchange, content, undefined, {}));

  it("sends the pieces of a large answer in turns with everybody else", async () => {
    await listen(serveContent);
    const turn = Promise.withResolvers<void>();
    const next = vi.spyOn(turns, "next").mockReturnValueOnce(undefined).mockReturnValueOnce(turn.promise);
    const spend = vi.spyOn(turns, "spend");
    const answering = fetch(`${origin}/value`);
    await vi.waitFor(() => expect(next).toHaveBeenCalledTimes(2), WAIT);
    expect((await fetch(`${origin}/healthz`)).status).toBe(200);
    expect(spend.mock.calls).toEqual([[100_000]]);
    turn.resolve();
    const answer = await answering;
    expect(Buffer.from(await answer.arrayBuffer()).equals(value)).toBe(true);
    expect(spend.mock.calls.reduce((sum, [bytes]) => sum + bytes, 0)).toBe(value.length);
  });

  it("gives back all memory that it was lent for a client that is given up", async () => {
    observed = [];
    let [lentCount, leftBytes] = [0, value.length];
    const take = (bytesMax: number): LentPiece => {
      const bytes = Buffer.alloc(bytesMax, "v");
      lentCount++;
      leftBytes -= bytes.length;
      return { bytes, giveBack: () => void lentCount-- };
    };
    const lent: EntryContent = {
      ...content,
      lend: () => ({ take, more: () => leftBytes > 0 && Promise.resolve(true) }),
    };
    const serve: HttpRoutes = (router) =>
      router.route("GET", "/value", OPEN, (exchange) => sendContent(exchange, lent, undefined, {}));
    await listen(serve, { sendStallTimeoutMs: 50 });
    const socket = await dial();
    socket.on("error", () => {}).pause();
    socket.write("GET /value HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBeGreaterThan(0), WAIT);
    await vi.waitFor(() => expect(observed).toHaveLength(1), WAIT);
    await vi.waitFor(() => expect([lentCount, outputBudget.heldBytes]).toEqual([0, 0]), WAIT);
    socket.destroy();
  });

  it("counts an answer that was made at once and that its client does not take, and gives it up as well", async () => {
    const serve: HttpRoutes = (router) =>
      router.route("GET", "/value", OPEN, ({ response }) => void response.end(value));
    await listen(serve, { sendStallTimeoutMs: 2 });
    const socket = await dial();
    socket.on("error", () => {}).pause();
    socket.write("GET /value HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBeGreaterThan(value.length), WAIT);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const chatter = setInterval(() => socket.write("\r\n"), 20);
    await closed;
    clearInterval(chatter);
    // The client may hear of the reset before the server's own end of it has closed.
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBe(0), WAIT);
  });

  it("gives up an answer that waits for those before it on its connection once its turn has come", async () => {
    const isTold = Promise.withResolvers<void>();
    const serve: HttpRoutes = (router) => {
      router.route("GET", "/slow", OPEN, async ({ response }) => {
        await isTold.promise;
        response.end("slow");
      });
      router.route("GET", "/value", OPEN, ({ response }) => void response.end(value));
    };
    await listen(serve, { sendStallTimeoutMs: 1 });
    const socket = await dial();
    socket.on("error", () => {}).pause();
    socket.write("GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\nGET /value HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBeGreaterThan(value.length), WAIT);
    // Timers of one length run out in order: that of the answer has, too.
    const stallMs = Math.ceil(outputBudget.heldBytes / (256 * 1024));
    await new Promise((resolve) => setTimeout(resolve, stallMs));
    expect(outputBudget.heldBytes).toBeGreaterThan(value.length);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const chatter = setInterval(() => socket.write("\r\n"), 20);
    isTold.resolve();
    await closed;
    clearInterval(chatter);
    // The client may hear of the reset before the server's own end of it has closed.
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBe(0), WAIT);
  });

  it("counts what a client does not take, and gives it up after the stated time whatever it sends meanwhile", async () => {
    await listen(serveContent, { sendStallTimeoutMs: 200 });
    const socket = await dial();
    socket.on("error", () => {}).pause();
    socket.write("GET /value HTTP/1.1\r\nhost: localhost\r\n\r\n");
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBeGreaterThan(0), WAIT);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const chatter = setInterval(() => socket.write("\r\n"), 20);
    await closed;
    clearInterval(chatter);
    // The client may hear of the reset before the server's own end of it has closed.
    await vi.waitFor(() => expect(outputBudget.heldBytes).toBe(0), WAIT);
    const answer = await fetch(`${origin}/value`);
    expect(Buffer.from(await answer.arrayBuffer()).equals(value)).toBe(true);
    expect(outputBudget.heldBytes).toBe(0);
  });
});
