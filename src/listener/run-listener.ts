import { systemClock } from "../clock.ts";
import { createLogger } from "../observability/logger.ts";
import { observeListenerThread } from "../observability/process-metrics.ts";
import { RequestObservers } from "../observability/request-observers.ts";
import { Readiness } from "../readiness.ts";
import { ListenerStore } from "../storage/listener/listener-store.ts";
import { ThreadCalls, type ThreadPort } from "../thread-calls.ts";
import { ConnectionSlots } from "./connection-slots.ts";
import { type ExchangeAccess, exchangePeers } from "./exchange-peers.ts";
import { KeptUploads } from "./kept-uploads.ts";
import { Listener } from "./listener.ts";
import type { ListenerMethods, ListenerWorkerData, MainMethods } from "./listener-protocol.ts";

type MainCalls = ThreadCalls<MainMethods, ListenerMethods>;

/** A listener in a thread of its own, which does what the main thread asks of it over `port`. */
export async function runListener(data: ListenerWorkerData, port: ThreadPort): Promise<void> {
  const { listenerIndex, config, logging } = data;
  const { listenerCount } = config;
  const logger = createLogger(logging, undefined, logging.isTerminal).child({ listener: listenerIndex });
  const readiness = new Readiness();
  readiness.follow(data.readiness);
  // What the main thread asks meanwhile waits in the port.
  const observers = await RequestObservers.open(config, logger);
  let store: ListenerStore | undefined;
  // The handlers run in later turns, when all of what they use is there.
  const main: MainCalls = new ThreadCalls<MainMethods, ListenerMethods>(port, {
    async listen() {
      store = await ListenerStore.open(data.store, { logger: logger.child({ part: "engine" }) });
      listener.serve(store);
      await listener.listen(data.port);
      return {};
    },
    useFiles(files) {
      listener.useFiles(files);
      return {};
    },
    showReadiness(status) {
      readiness.follow(status);
      return {};
    },
    heartbeat: () => ({}),
    async report() {
      const { connectionCount: connections, callsInFlight } = listener;
      const { stagingMemoryBytes = 0, hotRecordBytes = 0 } = store ?? {};
      const metrics = await listener.metrics.values();
      return { metrics, connections, callsInFlight, stagingMemoryBytes, hotRecordBytes };
    },
    bytesHere: ({ name }) => ({ bytes: listener.uploads.bytesHere(name) }),
    surrender: async ({ name }) => ({ detached: await listener.uploads.surrender(name) }),
    async forget({ name }) {
      await listener.uploads.forget(name);
      return {};
    },
    async dropKept() {
      await listener.uploads.dropKept();
      return {};
    },
    async drain({ deadlineMs }) {
      await listener.drain(deadlineMs);
      await observers[Symbol.asyncDispose]();
      return {};
    },
  });
  const kept = new KeptUploads(listenerIndex, listenerCount, data.keptUploads);
  const slots = new ConnectionSlots(config.connectionCountMax, listenerIndex, listenerCount, data.connectionSlots);
  const listener = new Listener({
    config,
    logger,
    clock: systemClock,
    readiness,
    files: data.files,
    process: {
      describe: async () => (await main.call("describe", {})).description,
      scrape: async () => (await main.call("scrape", {})).text,
    },
    connectionSlots: slots,
    requestRates: data.requestRates,
    uploadPeers: exchangePeers(exchangeBy(main), kept),
    observe: observers.observe,
  });
  listener.metrics.onScrape(() => {
    const { stagingMemoryBytes = 0, hotRecordBytes = 0, shardFigures = [] } = store ?? {};
    listener.metrics.setEngineFigures({ stagingMemoryBytes, hotRecordBytes, shards: shardFigures });
  });
  observeListenerThread(listener.metrics, listenerIndex);
}

function exchangeBy(main: MainCalls): ExchangeAccess {
  return {
    committedBytes: async (name) => (await main.call("committedBytes", { name })).bytes,
    take: async (name, moreThanBytes, signal) =>
      (await main.call("take", { name, moreThanBytes }, { signal })).detached,
    arrived: (name) => void main.call("arrived", { name }).catch(() => undefined),
    forget: (name) => void main.call("forgetElsewhere", { name }).catch(() => undefined),
    dropKept: async () => void (await main.call("dropKeptElsewhere", {})),
  };
}
