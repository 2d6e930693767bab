import type { ActionResultFormat } from "../cache/action-result-format.ts";
import { checkActionResult } from "./action-result-check.ts";
import { actionResultFromJson, actionResultToJson } from "./action-result-json.ts";
import { actionResultCodec } from "./proto-definitions.ts";

/** Action results in protobuf encoding. */
export const protoActionResultFormat: ActionResultFormat = {
  check: (encoded, fn) => checkActionResult(actionResultCodec.decode(encoded), fn),
  toJson: actionResultToJson,
  fromJson: actionResultFromJson,
};
