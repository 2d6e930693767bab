import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { CacheError } from "../cache/cache-error.ts";

/**
 * Exclusive use of a data directory by one process (HAZARDS H23). The lock must die with its process, however it
 * dies, and must hold across containers that share the volume. Node offers no `flock`; SQLite, which comes with it,
 * takes an `fcntl` lock in an exclusive transaction, and that is all that this database is for.
 */
export class DirectoryLock implements Disposable {
  private readonly database: DatabaseSync;

  private constructor(database: DatabaseSync) {
    this.database = database;
  }

  /** @throws {CacheError} failed_precondition where another store holds the directory, or no lock can be made in it. */
  static acquire(directory: string): DirectoryLock {
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(join(directory, "lock"));
      database.exec("BEGIN EXCLUSIVE");
      return new DirectoryLock(database);
    } catch (cause) {
      database?.close();
      const reason = isBusy(cause) ? "is in use by another Kura process" : `cannot be locked: ${String(cause)}`;
      throw new CacheError("failed_precondition", `${directory} ${reason}`, { cause });
    }
  }

  [Symbol.dispose](): void {
    this.database.close();
  }
}

const SQLITE_BUSY = 5;

function isBusy(error: unknown): boolean {
  return error instanceof Error && "errcode" in error && error.errcode === SQLITE_BUSY;
}
