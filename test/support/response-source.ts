import type { ResponseSource } from "../../src/grpc/transport/handler.ts";

/** Takes all responses as a transport does, and closes the source. */
export async function* responsesOf<Response>(source: ResponseSource<Response>): AsyncGenerator<Response> {
  try {
    do {
      for (let next = take(source); next !== undefined; next = take(source)) yield next;
    } while (await source.more());
  } finally {
    source.close();
  }
}

/** Without a bound on its size. */
function take<Response>(source: ResponseSource<Response>): Response | undefined {
  return source.take(Number.POSITIVE_INFINITY);
}
