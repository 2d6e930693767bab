/** One phase of a recorded build against a server. */
export interface ReplayTask {
  readonly endpoint: string;
  readonly connections: number;
  /** A file of this folder. */
  readonly recording: string;
  /** `cold` or `warm` */
  readonly phase: string;
  /** Of the contents: the phases of one build share it. */
  readonly seed: string;
}
