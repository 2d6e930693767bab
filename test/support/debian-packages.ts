import { execFileSync, spawnSync } from "node:child_process";

/** A program that a suite needs, and the Debian packages that it comes from. */
export interface RequiredProgram {
  readonly program: string;
  readonly packages: readonly string[];
  /** A shell command that succeeds once it is there, for what is no program on PATH. */
  readonly probe?: string;
}

/** Installs what is missing. @throws where a program is still missing afterwards: a suite is never skipped. */
export function installPrograms(required: readonly RequiredProgram[]): void {
  const packages = [...new Set(required.filter((entry) => !isInstalled(entry)).flatMap((entry) => entry.packages))];
  if (packages.length > 0) {
    console.log(`installing ${packages.join(" ")}`);
    aptGet("update", "-q");
    aptGet("install", "-q", "-y", "--no-install-recommends", ...packages);
  }
  const missing = required.filter((entry) => !isInstalled(entry)).map(({ program }) => program);
  if (missing.length > 0) throw new Error(`not there, also after installing: ${missing.join(", ")}`);
}

function isInstalled({ program, probe = 'command -v "$1"' }: RequiredProgram): boolean {
  return spawnSync("/bin/sh", ["-c", probe, "sh", program]).status === 0;
}

function aptGet(...command: string[]): void {
  const withoutQuestions = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  const prefix = process.getuid?.() === 0 ? [] : ["sudo", "-n"];
  const [program = "apt-get", ...rest] = [...prefix, "apt-get", ...command];
  execFileSync(program, rest, { stdio: ["ignore", "inherit", "inherit"], env: withoutQuestions });
}
