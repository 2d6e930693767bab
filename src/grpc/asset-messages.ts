/** Messages of `build.bazel.remote.asset.v1`, decoded as described in `google-messages.ts`. */
import type { Duration, Status, Timestamp } from "./google-messages.ts";
import type { Digest, DigestFunctionNumber } from "./messages.ts";

export interface Qualifier {
  name: string;
  value: string;
}

/** `FetchBlobRequest` and `FetchDirectoryRequest` have the same fields. */
export interface FetchRequest {
  instance_name: string;
  timeout: Duration | null;
  oldest_content_accepted: Timestamp | null;
  uris: string[];
  qualifiers: Qualifier[];
  digest_function: DigestFunctionNumber;
}

interface FetchResponse {
  status: Status | null;
  uri: string;
  qualifiers: Qualifier[];
  expires_at: Timestamp | null;
  digest_function: DigestFunctionNumber;
}

export interface FetchBlobResponse extends FetchResponse {
  blob_digest: Digest | null;
}

export interface FetchDirectoryResponse extends FetchResponse {
  root_directory_digest: Digest | null;
}

/** What `PushBlobRequest` and `PushDirectoryRequest` have in common. */
export interface PushRequest {
  instance_name: string;
  uris: string[];
  qualifiers: Qualifier[];
  expire_at: Timestamp | null;
  references_blobs: Digest[];
  references_directories: Digest[];
  digest_function: DigestFunctionNumber;
}

export interface PushBlobRequest extends PushRequest {
  blob_digest: Digest | null;
}

export interface PushDirectoryRequest extends PushRequest {
  root_directory_digest: Digest | null;
}

/** `PushBlobResponse` and `PushDirectoryResponse`: nothing to say. */
export type PushResponse = Record<never, never>;
