import type { BenchOptions, Report } from "./bench-options.ts";
import { measureDiskLimit } from "./disk-limit.ts";

const THREADS = [1, 2];

/** What the disk can do by itself, for systems that sync: with as many records on their way as there are writers. */
export async function reportDiskLimit(options: BenchOptions, report: Report): Promise<void> {
  if (options.system.durability !== "commit") return;
  for (const threads of THREADS) {
    const measurement = await measureDiskLimit({
      directory: options.directory,
      threads,
      recordBytes: options.blobBytes,
      records: Math.ceil(options.runBytes / options.blobBytes),
      recordsInFlight: options.writers,
    });
    const group = Math.max(1, Math.floor(options.writers / threads));
    const scenario = `disk limit, ${threads} x ${group} records`;
    report({ scenario, system: "disk", durability: "fdatasync", itemsPerOperation: 1, ...measurement });
  }
}
