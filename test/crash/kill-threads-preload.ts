/** Imported into every thread of a server: each SIGUSR2 ends the next one of its threads, in turns in two ways. */
import {
  getEnvironmentData,
  isMainThread,
  setEnvironmentData,
  threadId,
  type Worker,
  workerData,
} from "node:worker_threads";

const VICTIMS = ["shard 0", "listener 1", "shard 1"];
/** Of shared memory that every thread is given: the thread that is each of the victims now. */
const IDS = "threads that are ended";

if (isMainThread) endThreads();
else tellOwnId();

interface OwnData {
  readonly shardIndex?: number;
  readonly listenerIndex?: number;
}

/** Before anything of the thread itself runs: a message about it may come late, or never from one that ends. */
function tellOwnId(): void {
  const { shardIndex, listenerIndex } = (workerData ?? {}) as OwnData;
  const at = VICTIMS.indexOf(shardIndex === undefined ? `listener ${listenerIndex}` : `shard ${shardIndex}`);
  if (at !== -1) Atomics.store(new Int32Array(getEnvironmentData(IDS) as SharedArrayBuffer), at, threadId);
}

function endThreads(): void {
  const ids = new Int32Array(new SharedArrayBuffer(VICTIMS.length * Int32Array.BYTES_PER_ELEMENT));
  setEnvironmentData(IDS, ids.buffer);
  const workers: Worker[] = [];
  let ended = 0;
  process.on("worker", (worker) => workers.push(worker));
  process.on("SIGUSR2", () => {
    const at = ended % VICTIMS.length;
    const victim = workers.find((worker) => worker.threadId === Atomics.load(ids, at));
    if (victim === undefined) throw new Error(`${VICTIMS[at]} is not running; threads are ${ids.join()}`);
    // Nobody sends such a message: what its reader throws, nobody catches.
    if (ended % 2 === 0) victim.postMessage(null);
    else void victim.terminate();
    ended++;
  });
}
