import { CacheError } from "../../cache/cache-error.ts";
import { systemTimers, type Timers } from "../../timers.ts";
import type { DiskLedger } from "../disk-ledger.ts";

/** Lets uploads in as room comes free. */
export interface Admission {
  /** Reserves `bytes` on the ledger if there is room and nobody waits for it. */
  tryAdmit(bytes: number): boolean;
  /**
   * Reserves `bytes` on the ledger.
   * @throws {CacheError} storage_full with a retry time where there was no room in time.
   */
  admit(bytes: number, signal?: AbortSignal): Promise<void>;
  /** Called after bytes were released. */
  roomWasMade(): void;
}

interface Waiter {
  readonly bytes: number;
  readonly admit: () => void;
}

export interface DiskAdmissionOptions {
  /** Kept free below the ledger's limit, so that retirement can copy before it unlinks. */
  readonly keepFreeBytes: number;
  /** Uploads that may wait for room at once; one more is refused. */
  readonly waitersMax: number;
  readonly waitMs: number;
  /** Called whenever room is short. */
  readonly wantRoom: () => void;
  readonly timers?: Timers;
}

/**
 * Lets an upload in once the disk has room for all of it, first come first served, for a bounded time (I7). Uploads of
 * all listener threads that wait do so here.
 */
export class DiskAdmission implements Admission {
  private readonly ledger: DiskLedger;
  private readonly options: DiskAdmissionOptions;
  private readonly waiters: Waiter[] = [];

  constructor(ledger: DiskLedger, options: DiskAdmissionOptions) {
    this.ledger = ledger;
    this.options = options;
  }

  tryAdmit(bytes: number): boolean {
    return this.waiters.length === 0 && this.ledger.tryReserve(bytes, this.options.keepFreeBytes);
  }

  async admit(bytes: number, signal?: AbortSignal): Promise<void> {
    if (this.tryAdmit(bytes)) return;
    if (this.waiters.length >= this.options.waitersMax) throw noRoom();
    if (signal?.aborted === true) throw cancelled();
    await new Promise<void>((resolve, reject) => {
      const settle = (): void => {
        timer.cancel();
        signal?.removeEventListener("abort", abort);
        const position = this.waiters.indexOf(waiter);
        if (position !== -1) this.waiters.splice(position, 1);
        this.ledger.setWaiters(this.waiters.length);
      };
      const giveUp = (error: CacheError): void => {
        settle();
        reject(error);
        // A large upload that gives up no longer stands before the small ones behind it.
        this.roomWasMade();
      };
      const abort = (): void => giveUp(cancelled());
      const { waitMs, timers = systemTimers } = this.options;
      const timer = timers.start(waitMs, () => giveUp(noRoom()));
      const waiter: Waiter = {
        bytes,
        admit() {
          settle();
          resolve();
        },
      };
      signal?.addEventListener("abort", abort, { once: true });
      this.waiters.push(waiter);
      this.ledger.setWaiters(this.waiters.length);
      // After it has queued up: whoever makes room asks how much is wanted. And another thread that released bytes
      // since they were found short has seen nobody wait: so they are tried once more.
      this.roomWasMade();
    });
  }

  /** What must come free for the first that waits; 0 where nobody does. */
  get bytesWanted(): number {
    return this.waiters[0]?.bytes ?? 0;
  }

  /** Tries the waiters again, in order. */
  roomWasMade(): void {
    for (;;) {
      const first = this.waiters[0];
      if (first === undefined) return;
      if (!this.ledger.tryReserve(first.bytes, this.options.keepFreeBytes)) {
        this.options.wantRoom();
        return;
      }
      first.admit();
    }
  }
}

function cancelled(): CacheError {
  return new CacheError("cancelled", "the upload was cancelled");
}

function noRoom(): CacheError {
  return new CacheError("storage_full", "no disk space could be made for the upload in time", { retryAfterMs: 5000 });
}
