import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ERROR_CODE } from "../../src/http2/error-code.ts";
import { FRAME } from "../../src/http2/frame-format.ts";
import { CacheClient, digestOf } from "../support/cache-client.ts";
import { ServerProcess } from "../support/server-process.ts";
import { makeTemporaryDirectory, type TemporaryDirectory } from "../support/temporary-directory.ts";
import { TEST_CERTIFICATE, TEST_KEY } from "../support/test-certificate.ts";
import { flood, FLOODS } from "./floods.ts";
import { rawFrame, requestBlock } from "./raw-frames.ts";
import { RawHttp2Client } from "./raw-http2-client.ts";

const ABSENT = [digestOf(Buffer.from("absent"))];

/** A call that the server carries out, left open. */
function beginWrite(streamId: number, flags: number): Buffer {
  const fields = [["content-type", "application/grpc"] as const, ["te", "trailers"] as const];
  return rawFrame(FRAME.headers, flags, streamId, requestBlock("/google.bytestream.ByteStream/Write", fields));
}

describe.each(["plain", "TLS"])("a running server, %s", (security) => {
  const isTls = security === "TLS";
  let directory: TemporaryDirectory;
  let server: ServerProcess;

  beforeAll(async () => {
    directory = await makeTemporaryDirectory("floods");
    const [cert, key] = [join(directory.path, "cert.pem"), join(directory.path, "key.pem")];
    writeFileSync(cert, TEST_CERTIFICATE);
    writeFileSync(key, TEST_KEY);
    server = await ServerProcess.start({
      directory: join(directory.path, "data"),
      extraArguments: isTls ? ["--tls-cert", cert, "--tls-key", key] : [],
    });
  });
  afterAll(async () => {
    await server.stop();
    await directory[Symbol.asyncDispose]();
  });

  async function dial(): Promise<Socket> {
    const to = { host: "127.0.0.1", port: Number(new URL(`http://${server.endpoint}`).port) };
    const tls = { ...to, servername: "localhost", ca: TEST_CERTIFICATE, ALPNProtocols: ["h2"] };
    const socket = isTls ? connectTls(tls) : connect(to);
    await once(socket, isTls ? "secureConnect" : "connect");
    return socket;
  }

  test.each(FLOODS)("$name: cut off, while calls on another connection are answered", async (each) => {
    const security = isTls ? credentials.createSsl(Buffer.from(TEST_CERTIFICATE)) : credentials.createInsecure();
    using steady = new CacheClient(server.endpoint, "", security);
    const flooding = RawHttp2Client.over(await dial());
    let answeredCount = 0;
    const keepCalling = async (): Promise<void> => {
      do {
        expect((await steady.findMissing(ABSENT)).size).toBe(1);
        answeredCount++;
      } while (!flooding.isClosed);
    };
    await Promise.all([keepCalling(), flood(flooding, each, beginWrite)]);
    expect(await flooding.connectionError()).toBe(ERROR_CODE.enhanceYourCalm);
    expect((await steady.findMissing(ABSENT)).size).toBe(1);
    expect(answeredCount).toBeGreaterThan(0);
  });
});
