import { gzipSync } from "node:zlib";
import { expect, test, vi } from "vitest";
import { Decompressor } from "../../../src/grpc/transport/native-decompressor.ts";

const running = vi.hoisted(() => ({ count: 0, peak: 0 }));

vi.mock(import("node:zlib"), async (importOriginal) => {
  const zlib = await importOriginal();
  const gunzip = (bytes: Buffer, options: object, callback: (error: Error | null, result: Buffer) => void): void => {
    running.peak = Math.max(running.peak, ++running.count);
    zlib.gunzip(bytes, options, (error, result) => {
      running.count--;
      callback(error, result);
    });
  };
  return { ...zlib, gunzip: gunzip as typeof zlib.gunzip };
});

test("a hundred messages at once are expanded two at a time, and those that cannot be hold up no other", async () => {
  const decompressor = new Decompressor(1000);
  const messages = Array.from({ length: 100 }, (_, index) => {
    if (index % 3 === 1) return gzipSync(Buffer.alloc(1_000_000));
    return index % 3 === 2 ? Buffer.from("no gzip") : gzipSync(`${index}`);
  });
  const outcomes = await Promise.allSettled(messages.map((message) => decompressor.gunzip(message)));
  expect(running.peak).toBe(2);
  const expected = messages.map((_message, index) => {
    if (index % 3 === 0) return { status: "fulfilled", value: Buffer.from(`${index}`) };
    return { status: "rejected", reason: { code: index % 3 === 1 ? "ERR_BUFFER_TOO_LARGE" : "Z_DATA_ERROR" } };
  });
  expect(outcomes).toMatchObject(expected);
  expect(String(await decompressor.gunzip(gzipSync("again")))).toBe("again");
});
