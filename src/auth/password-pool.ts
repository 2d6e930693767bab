import { Piscina } from "piscina";
import { workerEnvironment } from "../worker-environment.ts";
import { PASSWORD_WORKER_URL } from "../worker-urls.ts";
import type { PasswordChecker } from "./password-table.ts";

const IDLE_MS = 60_000;

export interface PasswordTask {
  readonly password: string;
  readonly hash: string;
}

/** One thread, which runs while there is something to check: a flood of passwords takes one core and no more. */
export class PasswordPool implements PasswordChecker, AsyncDisposable {
  readonly #pool = new Piscina<PasswordTask, boolean>({
    filename: PASSWORD_WORKER_URL.href,
    minThreads: 0,
    maxThreads: 1,
    idleTimeout: IDLE_MS,
    recordTiming: false,
    env: workerEnvironment(),
  });

  verify(password: string, hash: string): Promise<boolean> {
    return this.#pool.run({ password, hash });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#pool.destroy();
  }
}
