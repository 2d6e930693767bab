import { describe, expect, it } from "vitest";
import { createLogger, type LoggerOptions } from "../../src/observability/logger.ts";

function logged(
  options: LoggerOptions,
  isTerminal = false,
): { logger: ReturnType<typeof createLogger>; lines: string[] } {
  const lines: string[] = [];
  return { logger: createLogger(options, { write: (line) => lines.push(line) }, isTerminal), lines };
}

describe("createLogger", () => {
  it("writes one JSON object a line, with the part of the server that speaks", () => {
    const { logger, lines } = logged({ level: "info", format: "json" });
    logger.child({ part: "shard 3" }).warn({ segment: 7 }, "segment sealed early");
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toEqual({
      level: "warn",
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT/),
      part: "shard 3",
      segment: 7,
      msg: "segment sealed early",
    });
  });

  it("writes text for people, with the stack of an error", () => {
    const { logger, lines } = logged({ level: "info", format: "text" });
    logger
      .child({ part: "http" })
      .error({ error: new TypeError("no such thing"), reference: "ab12" }, "internal fault");
    expect(lines[0]).toMatch(
      /^\d\d:\d\d:\d\d\.\d{3} ERROR http: internal fault reference=ab12\nTypeError: no such thing\n {4}at /,
    );
  });

  it("chooses text on a terminal and JSON elsewhere", () => {
    for (const isTerminal of [true, false]) {
      const { logger, lines } = logged({ level: "info", format: "auto" }, isTerminal);
      logger.info("hello");
      expect(lines[0]?.startsWith("{")).toBe(!isTerminal);
    }
  });

  it("leaves out what is below its level", () => {
    const { logger, lines } = logged({ level: "error", format: "json" });
    logger.warn("unheard");
    expect(lines).toEqual([]);
  });
});
