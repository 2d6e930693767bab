import { describe, expect, test } from "vitest";
import { OutputBuffer } from "../../src/http2/output-buffer.ts";

function write(output: OutputBuffer, text: string): void {
  const at = output.reserve(text.length);
  output.slab.write(text, at, "latin1");
}

const taken = (output: OutputBuffer): string => Buffer.concat(output.take()).toString("latin1");

describe("OutputBuffer", () => {
  test("leaves what is on its way as it is, however much is written behind it", () => {
    const output = new OutputBuffer();
    write(output, "first");
    const [first] = output.take();
    for (let i = 0; i < 1000; i++) write(output, `more ${i}`);
    expect(first?.toString("latin1")).toBe("first");
  });

  test("uses its slab again once nothing of it is needed, and not while something waits in it", () => {
    const output = new OutputBuffer();
    const { slab } = output;
    for (let i = 0; i < 1000; i++) {
      write(output, `turn ${i}`);
      output.reuseSlab();
      write(output, ", more");
      expect(taken(output)).toBe(`turn ${i}, more`);
      output.reuseSlab();
    }
    expect(output.slab).toBe(slab);
  });
});
