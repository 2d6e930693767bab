import { type ServiceError, status } from "@grpc/grpc-js";
import type { StatusMessage } from "./protocol.ts";

export type StatusName = keyof typeof status;

/** A server that does not do what a row asks for. */
export class Mismatch extends Error {
  constructor(expected: string, got: string) {
    super(`expected ${expected}, got ${got}`);
    this.name = "Mismatch";
  }
}

export function expectThat(isTrue: boolean, expected: string, got: string): asserts isTrue {
  if (!isTrue) throw new Mismatch(expected, got);
}

export function expectEqual(what: string, expected: number | string | boolean, got: unknown): void {
  expectThat(expected === got, `${what} ${expected}`, String(got));
}

export function expectBytes(what: string, expected: Uint8Array, got: Uint8Array): void {
  if (Buffer.compare(expected, got) === 0) return;
  const found = expected.length === got.length ? "other bytes" : `${got.length} bytes`;
  throw new Mismatch(`${what} of ${expected.length} bytes as uploaded`, found);
}

/** Any failure will do where no code is named. */
export async function expectFailure(call: Promise<unknown>, ...codes: readonly StatusName[]): Promise<void> {
  const got = await outcome(call);
  const isExpected = codes.length === 0 ? got.name !== "OK" : codes.includes(got.name);
  expectThat(isExpected, codes.length === 0 ? "an error" : codes.join(" or "), described(got));
}

/** The status in an answer, of a blob in a batch or of a fetch; an absent one stands for OK. */
export function expectStatus(what: string, got: StatusMessage | null | undefined, ...codes: StatusName[]): void {
  const name = statusName(got?.code ?? status.OK);
  expectThat(codes.includes(name), `${what} ${codes.join(" or ")}`, described({ name, message: got?.message ?? "" }));
}

/** How a call ended, in words. */
export interface Outcome {
  readonly name: StatusName;
  readonly message: string;
}

export async function outcome(call: Promise<unknown>): Promise<Outcome> {
  try {
    await call;
    return { name: "OK", message: "" };
  } catch (error) {
    if (!isServiceError(error)) throw error;
    return { name: statusName(error.code), message: error.details };
  }
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}

function statusName(code: number): StatusName {
  return (status[code] as StatusName | undefined) ?? "UNKNOWN";
}

export function described({ name, message }: Outcome): string {
  const clipped = message.length > 120 ? `${message.slice(0, 120)}...` : message;
  return clipped === "" ? name : `${name} (${clipped})`;
}
