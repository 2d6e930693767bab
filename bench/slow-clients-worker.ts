/** Thread entry: clients that read and upload large blobs, a few bytes at a time. See slow-clients.ts. */
import { createHash } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import type { SlowClientsTask } from "./slow-clients.ts";

const INTERVAL_MS = 100;
const PIECE = Buffer.alloc(1024, "slow");
const UPLOAD_BYTES = 4 * 1024 * 1024;

const { endpoint, count, atOnce, readPath } = workerData as SlowClientsTask;
const [host = "", port = ""] = endpoint.split(":");

/** Each on a connection of its own. */
async function begin(number: number): Promise<() => void> {
  const socket = connect({ host, port: Number(port) });
  await once(socket, "connect");
  if (number % 2 === 0) {
    socket.pause();
    socket.write(`GET ${readPath} HTTP/1.1\r\nhost: slow\r\n\r\n`);
    return () => void socket.read(PIECE.length);
  }
  const hash = createHash("sha256").update(`slow ${number}`).digest("hex");
  socket.write(`PUT /cas/${hash} HTTP/1.1\r\nhost: slow\r\ncontent-length: ${UPLOAD_BYTES}\r\n\r\n`);
  return () => void socket.write(PIECE);
}

const steps = await Promise.all(Array.from({ length: count }, (_, number) => begin(number)));
let taken = 0;
setInterval(
  () => {
    for (let i = 0; i < atOnce; i++) steps[taken++ % count]?.();
  },
  (INTERVAL_MS * atOnce) / count,
);
parentPort?.postMessage("running");
