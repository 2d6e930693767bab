import type { ScenarioName } from "../scenario-names.ts";

export interface SystemOptions {
  /** Empty, on the file system that is measured. */
  readonly directory: string;
  /** Room for everything: nothing is to be retired while it is measured. */
  readonly maxBytes: number;
  /** A command that becomes the server by `exec`, or nothing. */
  readonly wrapper: readonly string[];
}

/** A server under load, in a process of its own. It is killed with the object at the latest. */
export interface RunningSystem extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly endpoint: string;
  readonly pid: number;
  /** Where files have to lie for a server that serves nothing but files. */
  readonly documentRoot?: string;
  /** @throws where it does not end as it should. */
  stop(): Promise<void>;
}

/** One kind of server, or one way to set it up, that can be measured next to others. */
export interface System {
  /** As the rows show it. */
  readonly name: string;
  /** In a word, what is on disk when an upload is acknowledged. */
  readonly durability: string;
  /** What it has the services for. */
  readonly scenarios: readonly ScenarioName[];
  start(options: SystemOptions): Promise<RunningSystem>;
}

/** Another server than Kura: what is known of it is in a file of its own. */
export interface Peer {
  readonly name: string;
  /** Looked for on the PATH where no path is given. */
  readonly program: string;
  system(programPath: string): System;
}
