/**
 * `node webdav-storage.ts MODULES OBJECTS SALT`: what sccache does with its WebDAV storage, through Apache OpenDAL, the
 * library that it does it with: at the start it reads and writes a file of its own, then it looks up each object and
 * stores what it has not found. Prints the counts as JSON on the last line.
 */
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { join } from "node:path";

interface Operator {
  read(path: string): Promise<Buffer>;
  write(path: string, content: Buffer): Promise<unknown>;
}

const [modules = "", objects = "0", salt = ""] = process.argv.slice(2);
const { SCCACHE_WEBDAV_ENDPOINT: endpoint = "", SCCACHE_WEBDAV_TOKEN: token } = process.env;
const load = createRequire(join(modules, "opendal", "package.json"));
const { Operator: operatorOf } = load("opendal") as {
  Operator: new (scheme: string, options: Record<string, string>) => Operator;
};

const CHECK_FILE = ".sccache_check";
const LARGE_BYTES = 6 * 1024 * 1024;
const storage = new operatorOf("webdav", { endpoint, root: "/", ...(token !== undefined && { token }) });
const counts = { hits: 0, misses: 0, written: 0, complaints: [] as string[] };

/** Bytes of the n-th object, which are the same in each run with the same salt. */
function contentOf(n: number): Buffer {
  const block = createHash("sha512").update(`${salt} ${n}`).digest();
  return Buffer.alloc(n === 3 ? LARGE_BYTES : 100 + 3001 * n, block);
}

async function readOrMiss(path: string): Promise<Buffer | undefined> {
  try {
    return await storage.read(path);
  } catch (error) {
    if (!String(error).includes("NotFound")) counts.complaints.push(`read: ${String(error)}`);
    return undefined;
  }
}

async function write(path: string, content: Buffer): Promise<void> {
  try {
    await storage.write(path, content);
    counts.written += 1;
  } catch (error) {
    counts.complaints.push(`write: ${String(error)}`);
  }
}

async function useObject(n: number): Promise<void> {
  const name = createHash("sha256").update(`${salt} ${n}`).digest("hex");
  const path = `${name[0]}/${name[1]}/${name[2]}/${name}`;
  const found = await readOrMiss(path);
  if (found === undefined) {
    counts.misses += 1;
    await write(path, contentOf(n));
  } else if (found.equals(contentOf(n))) {
    counts.hits += 1;
  } else {
    counts.complaints.push(`other bytes: ${path}`);
  }
}

await readOrMiss(CHECK_FILE);
await write(CHECK_FILE, Buffer.from("Hello, World!"));
await Promise.all(Array.from({ length: Number(objects) }, (_, n) => useObject(n)));
console.log(JSON.stringify(counts));
