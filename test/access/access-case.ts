/** The server that a case talks to. */
export interface Surroundings {
  /** `localhost:PORT`, which the certificate is for. */
  readonly endpoint: string;
  /** PEM file. */
  readonly certificate: string;
  /** Empty, and removed afterwards. */
  readonly directory: string;
}

export interface AccessCase {
  readonly name: string;
  /** @returns what is wrong. */
  run(around: Surroundings): Promise<readonly string[]>;
}
