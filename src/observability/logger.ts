import process from "node:process";
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from "pino";

export type { Logger } from "pino";

export interface LoggerOptions {
  /** Least severe level that is written. */
  readonly level: "fatal" | "error" | "warn" | "info" | "debug" | "trace" | "silent";
  /** `auto`: text where standard error is a terminal, else json. */
  readonly format: "auto" | "json" | "text";
}

const STANDARD_ERROR = 2;

/**
 * The root logger; parts of the server log through `logger.child({ part: "…" })`. It writes to standard error, because
 * standard output carries the one line that scripts wait for.
 */
export function createLogger(
  { level, format }: LoggerOptions,
  // Synchronous: what was logged last before a crash is what matters most.
  output: DestinationStream = destination({ dest: STANDARD_ERROR, sync: true }),
  isTerminal: boolean = process.stderr.isTTY,
): Logger {
  const isText = format === "text" || (format === "auto" && isTerminal);
  return pino(
    {
      level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: pino.stdSerializers.err },
    },
    isText ? { write: (line) => output.write(asText(line)) } : output,
  );
}

/** `12:30:05.123 INFO  part: message key=value`, the stack of an error below it. */
function asText(line: string): string {
  const { time, level, part, msg, error, ...rest } = JSON.parse(line) as Record<string, unknown>;
  const fields = Object.entries(rest).map(([name, value]) => ` ${name}=${asValue(value)}`);
  const prefix = part === undefined ? "" : `${asValue(part)}: `;
  const clock = String(time).slice(11, 23);
  const head = `${clock} ${String(level).toUpperCase().padEnd(5)} ${prefix}${asValue(msg ?? "")}${fields.join("")}`;
  return `${head}${asStack(error)}\n`;
}

function asValue(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function asStack(error: unknown): string {
  if (error === undefined) return "";
  const stack = (error as { stack?: unknown }).stack;
  return `\n${typeof stack === "string" ? stack : JSON.stringify(error)}`;
}
