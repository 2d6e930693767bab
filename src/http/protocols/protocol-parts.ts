import type { ValueProtocol } from "../../cache/entry-key.ts";
import type { ValueStore } from "../../cache/value-store.ts";
import type { RequestBodies } from "../request-body.ts";

/** What the routes of a cache protocol work with. */
export interface ProtocolParts {
  /** The values of one protocol, counted under its name. */
  readonly values: (protocol: ValueProtocol) => ValueStore;
  readonly bodies: RequestBodies;
}
