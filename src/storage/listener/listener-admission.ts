import type { DiskLedger } from "../disk-ledger.ts";
import type { Admission } from "../staging/disk-admission.ts";

export interface ListenerAdmissionOptions {
  readonly keepFreeBytes: number;
  /** Waits on the main thread, in the queue of all threads. @throws what that one does. */
  readonly waitForRoom: (bytes: number, signal?: AbortSignal) => Promise<unknown>;
  readonly diskUseChanged: () => void;
}

/** Lets uploads of a listener thread in: at once where there is room and nobody waits in any thread, else in turn. */
export class ListenerAdmission implements Admission {
  private readonly ledger: DiskLedger;
  private readonly options: ListenerAdmissionOptions;

  constructor(ledger: DiskLedger, options: ListenerAdmissionOptions) {
    this.ledger = ledger;
    this.options = options;
  }

  tryAdmit(bytes: number): boolean {
    return !this.ledger.hasWaiters && this.ledger.tryReserve(bytes, this.options.keepFreeBytes);
  }

  async admit(bytes: number, signal?: AbortSignal): Promise<void> {
    if (!this.tryAdmit(bytes)) await this.options.waitForRoom(bytes, signal);
  }

  roomWasMade(): void {
    if (this.ledger.hasWaiters) this.options.diskUseChanged();
  }
}
