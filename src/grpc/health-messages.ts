/** Messages of `grpc.health.v1`, decoded as described in `google-messages.ts`. */

/** `HealthCheckResponse.ServingStatus` */
export const SERVING_STATUS = { unknown: 0, serving: 1, notServing: 2, serviceUnknown: 3 } as const;

export interface HealthCheckRequest {
  /** Full name of a service; empty for the server as a whole. */
  service: string;
}

export interface HealthCheckResponse {
  /** See {@link SERVING_STATUS}. */
  status: number;
}
