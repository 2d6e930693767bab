import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DiskLedger } from "../../../src/storage/disk-ledger.ts";
import { DiskAdmission, type DiskAdmissionOptions } from "../../../src/storage/staging/disk-admission.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const WAIT_MS = 20_000;

function admission(options: Partial<DiskAdmissionOptions> = {}) {
  const ledger = new DiskLedger(1000);
  let roomWanted = 0;
  const wantRoom = (): void => void (roomWanted += 1);
  const admission = new DiskAdmission(ledger, {
    keepFreeBytes: 100,
    waitersMax: 3,
    waitMs: WAIT_MS,
    wantRoom,
    ...options,
  });
  const outcomes: string[] = [];
  /** Notes under `name` how it went. */
  const ask = (name: string, bytes: number, signal?: AbortSignal): Promise<void> =>
    admission.admit(bytes, signal).then(
      () => void outcomes.push(`${name} in`),
      (error: { code: string }) => void outcomes.push(`${name} ${error.code}`),
    );
  const release = (bytes: number): void => {
    ledger.release(bytes);
    admission.roomWasMade();
  };
  return { ledger, admission, outcomes, ask, release, roomWanted: () => roomWanted };
}

/** Lets promises that are settled run on. */
const settled = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

describe("DiskAdmission", () => {
  test("reserves at once what fits below the limit less what is kept free", async () => {
    const { ledger, ask, outcomes, roomWanted } = admission();
    await ask("a", 900);
    expect(outcomes).toEqual(["a in"]);
    expect(ledger.bytesUsed).toBe(900);
    expect(roomWanted()).toBe(0);
  });

  test("lets waiters in first come first served: a small one does not pass a large one", async () => {
    const { ask, outcomes, release, ledger, roomWanted } = admission();
    await ask("first", 900);
    void ask("large", 600);
    void ask("small", 1);
    await settled();
    expect(outcomes).toEqual(["first in"]);
    expect(roomWanted()).toBe(2);
    release(500);
    await settled();
    expect(outcomes, "500 free are enough for the small one only").toEqual(["first in"]);
    release(200);
    await settled();
    expect(outcomes).toEqual(["first in", "large in", "small in"]);
    expect(ledger.bytesUsed).toBe(801);
    expect(vi.getTimerCount(), "no timer is left").toBe(0);
  });

  test("one that comes while others wait queues up also where it would fit", async () => {
    const { ask, outcomes, release } = admission();
    await ask("first", 800);
    void ask("large", 600);
    void ask("tiny", 1);
    await settled();
    expect(outcomes).toEqual(["first in"]);
    release(800);
    await settled();
    expect(outcomes).toEqual(["first in", "large in", "tiny in"]);
  });

  test("refuses one that has waited its time, with a retry time, and reserves nothing for it", async () => {
    const { admission: disk, ask, ledger } = admission();
    await ask("first", 900);
    const refused = disk.admit(10).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(WAIT_MS - 1);
    expect(ledger.bytesUsed).toBe(900);
    await vi.advanceTimersByTimeAsync(1);
    expect(await refused).toMatchObject({ code: "storage_full", retryAfterMs: 5000 });
    expect(ledger.bytesUsed).toBe(900);
  });

  test("a large one that gives up no longer stands before the small ones behind it", async () => {
    const { ask, outcomes } = admission();
    await ask("first", 850);
    void ask("large", 600);
    await vi.advanceTimersByTimeAsync(WAIT_MS / 2);
    void ask("small", 20);
    await vi.advanceTimersByTimeAsync(WAIT_MS / 2);
    expect(outcomes).toEqual(["first in", "large storage_full", "small in"]);
  });

  test("a waiter that is aborted leaves at once, reserves nothing and lets the next one in", async () => {
    const { ask, outcomes, ledger } = admission();
    const abort = new AbortController();
    await ask("first", 850);
    void ask("large", 600, abort.signal);
    void ask("small", 20);
    await settled();
    abort.abort();
    await settled();
    expect(outcomes).toEqual(["first in", "large cancelled", "small in"]);
    expect(ledger.bytesUsed).toBe(870);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("one whose signal is aborted already does not wait", async () => {
    const { ask, outcomes } = admission();
    await ask("first", 900);
    await ask("late", 10, AbortSignal.abort());
    expect(outcomes).toEqual(["first in", "late cancelled"]);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("an abort after the admission changes nothing", async () => {
    const { ask, outcomes, release, ledger } = admission();
    const abort = new AbortController();
    await ask("first", 900);
    void ask("second", 100, abort.signal);
    release(500);
    await settled();
    abort.abort();
    await settled();
    expect(outcomes).toEqual(["first in", "second in"]);
    expect(ledger.bytesUsed).toBe(500);
  });

  test("refuses the one past the bound of its queue at once", async () => {
    const { ask, outcomes } = admission();
    await ask("first", 900);
    for (const name of ["a", "b", "c"]) void ask(name, 10);
    await ask("d", 10);
    expect(outcomes).toEqual(["first in", "d storage_full"]);
  });

  test("tells how much the first that waits wants, also at the moment at which it asks for room", async () => {
    const asked: number[] = [];
    const { admission: disk, ask, release } = admission({ wantRoom: () => void asked.push(disk.bytesWanted) });
    await ask("first", 900);
    expect(disk.bytesWanted).toBe(0);
    void ask("large", 600);
    void ask("small", 1);
    await settled();
    expect(asked).toEqual([600, 600]);
    release(900);
    expect(disk.bytesWanted).toBe(0);
  });

  test("asks for room again for as long as the first waiter does not fit", async () => {
    const { ask, release, roomWanted } = admission();
    await ask("first", 900);
    void ask("large", 600);
    await settled();
    release(100);
    release(100);
    expect(roomWanted()).toBe(3);
  });
});
