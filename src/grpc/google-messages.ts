/**
 * Messages of the google packages as the codecs in `proto-definitions.ts` decode them: snake_case names, 64-bit
 * integers as numbers, enums as numbers, bytes as `Buffer`, an absent message as null, any other absent field as the
 * default of its type.
 */

/** `google.protobuf.Any` */
export interface Any {
  /** `type.googleapis.com/package.Message` */
  type_url: string;
  value: Buffer;
}

/** `google.protobuf.Duration` and `google.protobuf.Timestamp` (since the Unix epoch) have the same two fields. */
export interface Duration {
  seconds: number;
  nanos: number;
}
export type Timestamp = Duration;

/** `google.protobuf.UInt32Value` */
export interface UInt32Value {
  value: number;
}

/** `google.rpc.Status`, not to be mixed up with the status of a whole call, which travels in trailers. */
export interface Status {
  /** gRPC status code; 0 is success. */
  code: number;
  message: string;
  details: Any[];
}

/** `google.rpc.BadRequest`: goes into `Status.details` packed in an {@link Any}. */
export interface BadRequest {
  field_violations: { field: string; description: string }[];
}

/** `google.rpc.RetryInfo`: goes into `Status.details` packed in an {@link Any}. */
export interface RetryInfo {
  retry_delay: Duration | null;
}

/**
 * What an encoder takes for a message: fields may be left out or null for their default, and bytes may be any
 * `Uint8Array`.
 */
export type Encodable<Message> = {
  readonly [Field in keyof Message]?: EncodableField<Message[Field]> | null | undefined;
};

type EncodableField<Value> = Value extends Buffer
  ? Uint8Array
  : Value extends readonly (infer Item)[]
    ? readonly EncodableField<Item>[]
    : Value extends object
      ? Encodable<Value>
      : Value;
