import type { DetachedBlob } from "../cache/blob-store.ts";
import type { Config } from "../config.ts";
import type { LoggerOptions } from "../observability/logger.ts";
import type { MetricValues } from "../observability/metrics.ts";
import type { ReadinessStatus } from "../readiness.ts";
import type { ListenerStoreData } from "../storage/listener/listener-protocol.ts";
import type { ListenerFiles } from "./listener-files.ts";

/** What a listener thread is given when it starts. */
export interface ListenerWorkerData {
  readonly listenerIndex: number;
  readonly config: Config;
  /** The port that the main thread has bound. */
  readonly port: number;
  readonly logging: LoggerOptions & { readonly isTerminal: boolean };
  readonly readiness: ReadinessStatus;
  readonly files: ListenerFiles;
  readonly store: ListenerStoreData;
  /** See ConnectionSlots. */
  readonly connectionSlots: SharedArrayBuffer;
  /** See RequestRates; undefined where there is no rate. */
  readonly requestRates: SharedArrayBuffer | undefined;
  /** Int32 by listener: interrupted uploads that it keeps. */
  readonly keptUploads: SharedArrayBuffer;
}

/** What one listener adds to `/metrics` and `/status`. */
export interface ListenerReport {
  readonly metrics: MetricValues;
  readonly connections: number;
  readonly callsInFlight: number;
  readonly stagingMemoryBytes: number;
  readonly hotRecordBytes: number;
}

type Nothing = Record<never, never>;

/** What the main thread asks of a listener thread. */
export interface ListenerMethods {
  /** Binds the port. */
  listen: { request: Nothing; response: Nothing };
  useFiles: { request: ListenerFiles; response: Nothing };
  showReadiness: { request: ReadinessStatus; response: Nothing };
  /** Answered in its turn: the thread is alive. */
  heartbeat: { request: Nothing; response: Nothing };
  report: { request: Nothing; response: ListenerReport };
  bytesHere: { request: { name: string }; response: { bytes: number } };
  surrender: { request: { name: string }; response: { detached: DetachedBlob | undefined } };
  forget: { request: { name: string }; response: Nothing };
  dropKept: { request: Nothing; response: Nothing };
  /** Answered when nothing is in flight any more. */
  drain: { request: { deadlineMs: number }; response: Nothing };
}

/** What a listener thread asks of the main thread: what concerns all of them. */
export interface MainMethods {
  scrape: { request: Nothing; response: { text: string } };
  describe: { request: Nothing; response: { description: Readonly<Record<string, unknown>> } };
  committedBytes: { request: { name: string }; response: { bytes: number } };
  take: { request: { name: string; moreThanBytes: number }; response: { detached: DetachedBlob | undefined } };
  arrived: { request: { name: string }; response: Nothing };
  forgetElsewhere: { request: { name: string }; response: Nothing };
  dropKeptElsewhere: { request: Nothing; response: Nothing };
}
