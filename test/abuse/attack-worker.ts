/** Carries out one attack, in a thread of its own, so that the client that is watched has its own turns. */
import { once } from "node:events";
import { readlinkSync } from "node:fs";
import { connect } from "node:net";
import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { FLAG, FRAME, FRAME_HEADER_BYTES } from "../../src/http2/frame-format.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { type Attack, ATTACKS } from "./attacks.ts";

/** What the thread is told. */
export interface AttackOrder {
  readonly attackName: string;
  readonly port: number;
  readonly seed: string;
}

/** What it tells first; it begins once it is answered. */
export type AttackerReady = "ready";

/** What it tells then: how many are cut off, and when the last of them was. */
export interface AttackProgress {
  readonly cutOffCount: number;
  readonly elapsedMs: number;
}

const { attackName, port, seed } = workerData as AttackOrder;
const attack = ATTACKS.find(({ name }) => name === attackName);
if (attack === undefined || parentPort === null) throw new Error(`no attack ${attackName}`);
// Attackers are on other machines: here they take what the server and the good client leave of this one's processors.
setPriority(Number(readlinkSync("/proc/thread-self").split("/").at(-1)), constants.priority.PRIORITY_LOW);
parentPort.postMessage("ready" satisfies AttackerReady);
await once(parentPort, "message");
const startedAtMs = performance.now();
let cutOffCount = 0;
for (let attacker = 0; attacker < attack.attackerCount; attacker++) runAttacker(attack, attacker);

function runAttacker({ begin, again, intervalMs, cutOff }: Attack, attacker: number): void {
  const socket = connect(port, "127.0.0.1");
  let timer: NodeJS.Timeout | undefined;
  let isCutOff = false;
  const noteCutOff = (): void => {
    if (isCutOff) return;
    isCutOff = true;
    clearInterval(timer);
    cutOffCount++;
    const progress: AttackProgress = { cutOffCount, elapsedMs: performance.now() - startedAtMs };
    parentPort?.postMessage(progress);
  };
  socket.on("error", () => {});
  socket.once("close", noteCutOff);
  if (cutOff === "call") onCallEnded(socket, noteCutOff);
  else socket.on("data", () => {});
  socket.once("connect", () => {
    begin(socket, seededRandom(`${seed}/${attackName}/${attacker}`));
    let round = 0;
    if (again !== undefined && !isCutOff) timer = setInterval(() => again(socket, round++), intervalMs);
  });
}

/** Calls back at the end of the first stream: END_STREAM, or a reset. */
function onCallEnded(socket: ReturnType<typeof connect>, onEnded: () => void): void {
  let pending: Buffer = Buffer.alloc(0);
  socket.on("data", (chunk) => {
    pending = Buffer.concat([pending, chunk]);
    while (pending.length >= FRAME_HEADER_BYTES) {
      const end = FRAME_HEADER_BYTES + pending.readUIntBE(0, 3);
      if (pending.length < end) return;
      const [type, flags] = [pending[3]!, pending[4]!];
      const isOfStream = type === FRAME.headers || type === FRAME.data;
      if (type === FRAME.rstStream || (isOfStream && (flags & FLAG.endStream) !== 0)) onEnded();
      pending = pending.subarray(end);
    }
  });
}
