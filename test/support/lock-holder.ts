import { DirectoryLock } from "../../src/storage/directory-lock.ts";

/** A process that holds the lock of the directory given until it is killed. Says so in one line. */
const directory = process.argv[2];
if (directory === undefined) throw new Error("usage: lock-holder DIRECTORY");
const lock = DirectoryLock.acquire(directory);
console.log("locked");
setInterval(() => lock, 1000);
