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

  /** @throws {CacheError} failed_precondition where another store holds the directory. */
  static acquire(directory: string): DirectoryLock {
    const database = new DatabaseSync(join(directory, "lock"));
    try {
      database.exec("BEGIN EXCLUSIVE");
    } catch (cause) {
      database.close();
      throw new CacheError("failed_precondition", `${directory} is in use by another Kura process`, { cause });
    }
    return new DirectoryLock(database);
  }

  [Symbol.dispose](): void {
    this.database.close();
  }
}
