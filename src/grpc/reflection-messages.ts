/**
 * Messages of `grpc.reflection.v1`, which `v1alpha` shares, decoded as described in `google-messages.ts`. Of a oneof
 * only the member that was sent is there, and the oneof's own name tells which.
 */

export interface ServerReflectionRequest {
  host: string;
  message_request?:
    | "file_by_filename"
    | "file_containing_symbol"
    | "file_containing_extension"
    | "all_extension_numbers_of_type"
    | "list_services";
  file_by_filename?: string;
  file_containing_symbol?: string;
  file_containing_extension?: ExtensionRequest | null;
  all_extension_numbers_of_type?: string;
  list_services?: string;
}

export interface ExtensionRequest {
  containing_type: string;
  extension_number: number;
}

export interface ServerReflectionResponse {
  valid_host: string;
  original_request: ServerReflectionRequest | null;
  file_descriptor_response?: FileDescriptorResponse;
  all_extension_numbers_response?: ExtensionNumberResponse;
  list_services_response?: ListServiceResponse;
  error_response?: ReflectionError;
}

export interface FileDescriptorResponse {
  /** Encoded `google.protobuf.FileDescriptorProto`. */
  file_descriptor_proto: Buffer[];
}

export interface ExtensionNumberResponse {
  base_type_name: string;
  extension_number: number[];
}

export interface ListServiceResponse {
  service: { name: string }[];
}

/** `ErrorResponse` */
export interface ReflectionError {
  /** gRPC status code. */
  error_code: number;
  error_message: string;
}
