import { ENCODINGS } from "../../cache/encoding.ts";
import { Places } from "../../cache/places.ts";
import { decodePuts, encodeOutcomes } from "./put-message.ts";
import type { Shard } from "./shard.ts";
import { serveListener } from "./serve-listener.ts";
import {
  isLongPut,
  type PutOutcome,
  type PutRequest,
  type RetireResult,
  type ShardMethodName,
  type ShardMethods,
  type ShardTask,
} from "./shard-protocol.ts";

type Waiter<T> = { resolve: (value: T) => void; reject: (error: unknown) => void };
/** Uploads that came together. */
type Puts = { readonly requests: readonly PutRequest[]; readonly waiter: Waiter<readonly PutOutcome[]> };
/** Long uploads that are decoded in turns; more of them wait, staged, which bounds them. */
const DECODERS_MAX = 4;

type LongJob = { step: () => boolean };

/**
 * Runs a shard's tasks in its worker thread. Uploads that arrive while a group syncs queue up here, because the
 * sync is a synchronous call; the next round takes the whole queue. Long jobs (adopting a file, retiring a segment)
 * advance by one slice between rounds.
 */
export class ShardServer {
  private readonly shard: Shard;
  private puts: Puts[] = [];
  private readonly longJobs: LongJob[] = [];
  private readonly decoderPlaces = new Places("uploads are being decoded", DECODERS_MAX, Number.POSITIVE_INFINITY);
  private roundIsScheduled = false;
  private readonly scheduleRound: (round: () => void) => void;

  constructor(shard: Shard, scheduleRound: (round: () => void) => void = setImmediate) {
    this.shard = shard;
    this.scheduleRound = scheduleRound;
  }

  async handle(task: ShardTask): Promise<ShardMethods[ShardMethodName]["response"]> {
    switch (task.method) {
      case "recover":
        return this.shard.recover(task.request);
      case "load":
        return this.shard.load(task.request);
      case "put":
        return this.put(task.request);
      case "putMany":
        return encodeOutcomes(await this.enqueue(decodePuts(task.request)));
      case "retire":
        return this.retire(task.request);
      case "trim":
        return { droppedBytes: await this.runLong(this.shard.trim(task.request.owner, task.request.bytes)) };
      case "quarantine": {
        const { space, key, segmentId, offset } = task.request;
        return { removed: this.shard.quarantine(space, key, segmentId, offset) };
      }
      case "scrub":
        return this.runLong(this.shard.scrub(task.request.budgetBytes));
      case "serveListener":
        // A task that is open for as long as the listener lives: a Piscina thread without one sleeps on its own port.
        await serveListener(task.request.port, (asked) => this.handle(asked));
        return {};
      case "heartbeat":
        return {};
      case "sync":
        this.shard.sync();
        return {};
      case "checkpoint":
        return { bytes: await this.runLong(this.shard.checkpoint()) };
      case "close":
        this.shard.close();
        return {};
    }
  }

  private async put(request: PutRequest): Promise<PutOutcome> {
    if (!isLongPut(request)) return this.putInGroup(request);
    const isCoded = request.encoding !== ENCODINGS.identity || this.shard.isRecoded(request);
    return isCoded ? this.putCoded(request) : this.runLong(this.shard.adopt(request));
  }

  /** What takes long to decode or encode, a few at a time: each has a window in memory. */
  private async putCoded(request: PutRequest): Promise<PutOutcome> {
    using _place = await this.decoderPlaces.take();
    const recoded = await this.runLong(this.shard.recode(request));
    if (recoded !== undefined) {
      const outcome = await this.runLong(this.shard.adopt(recoded));
      this.shard.dropStaged(request);
      return outcome;
    }
    if (request.adopt) return await this.runLong(this.shard.adopt(request));
    await this.runLong(this.shard.check(request));
    return await this.putInGroup(request);
  }

  private async putInGroup(request: PutRequest): Promise<PutOutcome> {
    const [outcome] = await this.enqueue([request]);
    if (outcome === undefined) throw new Error("put group: no outcome");
    return outcome;
  }

  private enqueue(requests: readonly PutRequest[]): Promise<readonly PutOutcome[]> {
    return new Promise((resolve, reject) => {
      this.puts.push({ requests, waiter: { resolve, reject } });
      this.wake();
    });
  }

  private retire({ foreignSegmentId, favouredOwners }: ShardMethods["retire"]["request"]): Promise<RetireResult> {
    return this.runLong(this.shard.retire(foreignSegmentId, favouredOwners));
  }

  private runLong<T>(job: Generator<undefined, T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.longJobs.push({
        step: () => {
          try {
            const next = job.next();
            if (next.done === true) resolve(next.value);
            return next.done === true;
          } catch (error) {
            reject(error);
            return true;
          }
        },
      });
      this.wake();
    });
  }

  private wake(): void {
    if (this.roundIsScheduled) return;
    this.roundIsScheduled = true;
    // After the messages that are waiting in the port: they join this round.
    this.scheduleRound(() => {
      this.roundIsScheduled = false;
      this.round();
    });
  }

  private round(): void {
    const puts = this.puts;
    this.puts = [];
    if (puts.length > 0) this.commit(puts);
    const job = this.longJobs.shift();
    if (job !== undefined && !job.step()) this.longJobs.push(job);
    if (this.longJobs.length > 0) this.wake();
  }

  private commit(puts: readonly Puts[]): void {
    try {
      const outcomes = this.shard.put(puts.flatMap(({ requests }) => requests));
      let taken = 0;
      for (const { requests, waiter } of puts) {
        waiter.resolve(outcomes.slice(taken, taken + requests.length));
        taken += requests.length;
      }
    } catch (error) {
      for (const { waiter } of puts) waiter.reject(error);
    }
  }
}
