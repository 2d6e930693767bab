/** Messages of `google.bytestream`, decoded as described in `google-messages.ts`. */

export interface ReadRequest {
  resource_name: string;
  read_offset: number;
  /** 0: no limit. */
  read_limit: number;
}

export interface ReadResponse {
  data: Buffer;
  /** No field of the message: where the memory of `data` is lent, gives it back. See `MethodDefinition.lentBy`. */
  giveBack?: () => void;
}

export interface WriteRequest {
  /** May be empty on every message of a stream but the first. */
  resource_name: string;
  write_offset: number;
  finish_write: boolean;
  /** A view of the message as it was received: whoever keeps it copies it. */
  data: Buffer;
}

export interface WriteResponse {
  committed_size: number;
}

export interface QueryWriteStatusRequest {
  resource_name: string;
}

export interface QueryWriteStatusResponse {
  committed_size: number;
  complete: boolean;
}
