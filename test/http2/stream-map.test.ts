import fc from "fast-check";
import { expect, test } from "vitest";
import type { Http2Stream } from "../../src/http2/http2-stream.ts";
import { StreamMap } from "../../src/http2/stream-map.ts";

/** Of which the map looks at nothing but the id. */
function streamOf(id: number): Http2Stream {
  return { id } as Http2Stream;
}

test("has the streams that a map has, whatever the ids, and finds none that are not there", () => {
  // Ids that a client sends, and others that share their slots.
  const ids = fc.oneof(
    fc.nat(40).map((index) => 2 * index + 1),
    fc.nat(40).map((index) => 128 * index + 1),
  );
  fc.assert(
    fc.property(fc.array(ids, { maxLength: 200 }), (steps) => {
      const [streams, map] = [new StreamMap(), new Map<number, Http2Stream>()];
      for (const id of steps) {
        const wasThere = map.delete(id);
        expect(streams.delete(id)).toBe(wasThere);
        if (!wasThere) {
          const stream = streamOf(id);
          streams.add(stream);
          map.set(id, stream);
        }
        expect(streams.size).toBe(map.size);
        expect(new Set(streams.streams())).toEqual(new Set(map.values()));
        for (const each of new Set(steps)) expect(streams.get(each)).toBe(map.get(each));
      }
    }),
  );
});
