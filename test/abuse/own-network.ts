import { spawn } from "node:child_process";
import { once } from "node:events";
import type { RequiredProgram } from "../support/debian-packages.ts";

export const OWN_NETWORK_PROGRAMS: readonly RequiredProgram[] = [
  { program: "unshare", packages: ["util-linux"] },
  { program: "ip", packages: ["iproute2"] },
];

/**
 * Ethernet's, in bytes. The loopback interface's of 64 KiB makes the system keep two megabytes for each client that does not
 * read, ten times what it keeps for one that comes over a network: as much as 20 segments.
 */
const MTU = 1500;

/**
 * Runs a program of this one's Node where the loopback interface is nobody else's, and passes packets on as Ethernet does.
 * @returns its exit code.
 */
export async function runInOwnNetwork(file: string, programArguments: readonly string[]): Promise<number> {
  const sudo = process.getuid?.() === 0 ? [] : ["sudo", "-n"];
  const shell = `ip link set lo mtu ${MTU} up && exec "$@"`;
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", file, ...programArguments];
  const [program = "", ...rest] = [...sudo, "unshare", "--net", "--", "sh", "-c", shell, "sh", ...node];
  const child = spawn(program, rest, { stdio: ["ignore", "inherit", "inherit"] });
  const kill = (): void => void child.kill("SIGTERM");
  process.once("exit", kill);
  const [exitCode] = (await once(child, "close")) as [number | null];
  process.removeListener("exit", kill);
  return exitCode ?? 1;
}
