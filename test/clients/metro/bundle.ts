/**
 * `node bundle.ts PROJECT BUNDLE`: bundles PROJECT by its metro.config.js, with the Metro that is installed there. Prints what
 * the cache store was asked, as JSON on the last line.
 */
import { createRequire } from "node:module";
import { join } from "node:path";

interface CacheStore {
  get(key: Buffer): Promise<unknown>;
  set(key: Buffer, value: unknown): Promise<unknown>;
}

interface Metro {
  loadConfig(where: { cwd: string }, defaults: object): Promise<{ readonly cacheStores: readonly CacheStore[] }>;
  runBuild(config: object, options: object): Promise<unknown>;
}

const [project = "", bundle = ""] = process.argv.slice(2);
const load = createRequire(join(project, "package.json"));
const metro = load("metro") as Metro;

const counts = { hits: 0, misses: 0, puts: 0, errors: [] as string[] };
const puts: Promise<unknown>[] = [];

/** The same store, with an eye on it. Metro itself does not wait for what it stores. */
function counted(store: CacheStore): CacheStore {
  return {
    async get(key) {
      const value = await store.get(key).catch(noteError);
      if (value === null || value === undefined) counts.misses += 1;
      else counts.hits += 1;
      return value;
    },
    set(key, value) {
      const put = store.set(key, value).then(() => (counts.puts += 1), noteError);
      puts.push(put);
      return put;
    },
  };
}

function noteError(error: unknown): undefined {
  counts.errors.push(String(error));
}

const config = await metro.loadConfig(
  { cwd: project },
  {
    projectRoot: project,
    maxWorkers: 2,
    reporter: { update: () => undefined },
    resolver: { useWatchman: false },
    serializer: { getPolyfills: () => [] },
    transformer: {
      babelTransformerPath: load.resolve("metro-babel-transformer"),
      asyncRequireModulePath: load.resolve("metro-runtime/src/modules/asyncRequire"),
    },
  },
);
const watched = { ...config, cacheStores: config.cacheStores.map(counted) };
await metro.runBuild(watched, { entry: "index.js", out: bundle, dev: false, minify: false });
await Promise.all(puts);
process.stdout.write(`\n${JSON.stringify(counts)}\n`, () => process.exit(0));
