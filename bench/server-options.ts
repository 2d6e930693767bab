import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const ENTRY = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** What the server says of its options: a bench may use one that not every version has. */
export function serverOptions(): string {
  return execFileSync(process.execPath, ["--disable-warning=ExperimentalWarning", ENTRY, "--help"], {
    encoding: "utf8",
  });
}
