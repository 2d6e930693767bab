import type { ResponseSource } from "../../src/grpc/transport/handler.ts";

/** Takes all responses as a transport does, and closes the source. */
export async function* responsesOf<Response>(source: ResponseSource<Response>): AsyncGenerator<Response> {
  try {
    do {
      for (let next = source.take(); next !== undefined; next = source.take()) yield next;
    } while (await source.more());
  } finally {
    source.close();
  }
}
