import type { BlobPlan } from "./blob-plan.ts";
import type { GrpcConnection } from "./grpc-connection.ts";

/** Calls by number; each fails where the answer is not the one that is due. */
export interface Workload {
  readonly calls: number;
  /** Of blobs, that all calls move together. */
  readonly bytes: number;
  readonly call: (connection: GrpcConnection, number: number) => Promise<void>;
}

/** Prepares the calls of a plan. @param batchBlobs in one call, where a call takes more than one. */
export type WorkloadMaker = (plan: BlobPlan, batchBlobs: number) => Workload;

/** One response in so many is compared byte by byte; of each one the length and the end are. */
export const COMPARE_ONE_IN = 16;
