import { turnEnd } from "../../turn-end.ts";
import { decodeOutcomes, encodePuts, type OutcomeMessage, type PutMessage } from "./put-message.ts";
import type { PutOutcome, PutRequest } from "./shard-protocol.ts";

interface GatheredPut {
  readonly request: PutRequest;
  readonly settle: PromiseWithResolvers<PutOutcome>;
  readonly onSent: (() => void) | undefined;
}

/** @param sent To be called in the turn in which the message is posted. */
type SendPuts = (message: PutMessage, sent: () => void) => Promise<OutcomeMessage>;

/** Crossing to the worker costs about 90 us a message: uploads that are ready in one turn of the event loop share it. */
export class PutGatherer {
  private readonly send: SendPuts;
  private gathered: GatheredPut[] = [];

  constructor(send: SendPuts) {
    this.send = send;
  }

  /** @param onSent Called when the request leaves this thread. */
  put(request: PutRequest, onSent?: () => void): Promise<PutOutcome> {
    const settle = Promise.withResolvers<PutOutcome>();
    if (this.gathered.push({ request, settle, onSent }) === 1) turnEnd.first(() => void this.sendGathered());
    return settle.promise;
  }

  private async sendGathered(): Promise<void> {
    const puts = this.gathered;
    this.gathered = [];
    try {
      const sent = (): void => puts.forEach(({ onSent }) => onSent?.());
      const response = await this.send(encodePuts(puts.map(({ request }) => request)), sent);
      for (const [i, outcome] of decodeOutcomes(response, puts.length).entries()) puts[i]?.settle.resolve(outcome);
    } catch (error) {
      for (const { settle } of puts) settle.reject(error);
    }
  }
}
