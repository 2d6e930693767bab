import process from "node:process";

/** What the OpenTelemetry SDK looks up itself, for the environment of a thread, which has no other. */
export function telemetryEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith("OTEL_")));
}
