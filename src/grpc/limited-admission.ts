import type { RequestRates } from "../auth/request-rates.ts";
import { type ShedReason, shedReasonOf } from "../cache/cache-error.ts";
import { accessOf } from "./method-access.ts";
import type { CallAdmission } from "./transport/transport-options.ts";

/** Lets no more calls of a caller in than its rate. Those that anybody may make, such as health checks, are not counted. */
export function limitedAdmission(
  admission: CallAdmission,
  rates: RequestRates,
  onShed: (reason: ShedReason) => void,
): CallAdmission {
  return {
    ...admission,
    enter(path, caller, peer) {
      if (accessOf(path).role === "none") return;
      try {
        rates.count(caller.name, peer.slice(0, peer.lastIndexOf(":")));
      } catch (error) {
        onShed(shedReasonOf(error) ?? "rate");
        throw error;
      }
    },
  };
}
