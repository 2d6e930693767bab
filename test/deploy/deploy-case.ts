import { execFile } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { REPOSITORY } from "./deploy-files.ts";

export interface DeployCase {
  readonly name: string;
  /** @returns what is wrong. */
  readonly run: () => Promise<readonly string[]>;
}

export const TIMEOUT_MS = 300_000;

/** Runs a program to its end. @returns what it printed, both outputs together. */
export function run(program: string, args: readonly string[], input = ""): Promise<{ code: number; output: string }> {
  return new Promise((resolve) => {
    const options = { cwd: REPOSITORY, timeout: TIMEOUT_MS };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : (child.exitCode ?? 1), output: stdout + stderr });
    });
    child.stdin?.end(input);
  });
}

export async function problemsOf(program: string, args: readonly string[], input = ""): Promise<string[]> {
  const { code, output } = await run(program, args, input);
  return code === 0 ? [] : [`${program} ${args.join(" ")}: exit code ${code}: ${output.slice(-1000)}`];
}

export async function freePort(): Promise<string> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return String(port);
}
