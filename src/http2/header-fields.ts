import { isWellFormedRequest } from "./request-validation.ts";

/** The fields of one header block, in order. May be shared by requests that sent the same block: never changed. */
export class HeaderFields {
  /** Name, value, name, value, … */
  readonly flat: readonly string[];
  /** For the layer above to keep what it has worked out from these fields. */
  memo: unknown = undefined;
  #isWellFormedRequest: boolean | undefined;

  constructor(flat: readonly string[]) {
    this.flat = flat;
  }

  /** Whether they may begin a request; found out once for all requests that share them. */
  get isWellFormedRequest(): boolean {
    this.#isWellFormedRequest ??= isWellFormedRequest(this.flat);
    return this.#isWellFormedRequest;
  }

  /** The first value of this lower-case name. */
  get(name: string): string | undefined {
    const { flat } = this;
    for (let index = 0; index < flat.length; index += 2) {
      if (flat[index] === name) return flat[index + 1];
    }
    return undefined;
  }
}
