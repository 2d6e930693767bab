import type { BlobPlan } from "./blob-plan.ts";
import type { GrpcConnection } from "./grpc-connection.ts";
import type { LoadOrder } from "./load-generator.ts";

/** Calls by number; each fails where the answer is not the one that is due. */
export interface Workload {
  readonly calls: number;
  /** Of blobs, that all calls move together. */
  readonly bytes: number;
  readonly call: (connection: GrpcConnection, number: number) => Promise<void>;
}

/** Prepares the calls of a plan. */
export type WorkloadMaker = (plan: BlobPlan, order: LoadOrder) => Workload;

/** One response in so many is compared byte by byte; of each one the length and the end are. */
export const COMPARE_ONE_IN = 16;
