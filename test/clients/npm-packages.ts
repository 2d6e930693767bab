import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const INSTALL_MS_MAX = 5 * 60_000;

/** Installs packages, each as `name@version`, without running their scripts. @returns the `node_modules` folder. */
export function installPackages(directory: string, packages: readonly string[]): string {
  mkdirSync(directory, { recursive: true });
  const options = ["--no-audit", "--no-fund", "--ignore-scripts", "--no-package-lock", "--loglevel=error"];
  execFileSync("npm", ["install", "--prefix", directory, ...options, ...packages], {
    stdio: ["ignore", "ignore", "inherit"],
    timeout: INSTALL_MS_MAX,
  });
  return join(directory, "node_modules");
}
