import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { stripVTControlCharacters } from "node:util";

const TOOL_MS_MAX = 10 * 60_000;
/** For a tool that is ended early to end what it has started. */
const LAST_WORDS_MS = 10_000;
const OUTPUT_CHARACTERS_SHOWN = 4000;

export interface ToolRun {
  readonly cwd: string;
  /** On top of an environment that holds nothing of this process's own but where programs are. */
  readonly environment?: Readonly<Record<string, string>>;
}

/** Runs a build tool to its end. @returns its output, without colours. @throws where it fails or takes too long. */
export async function runTool(program: string, args: readonly string[], run: ToolRun): Promise<string> {
  const output: Buffer[] = [];
  // A process group of its own, so that what it leaves behind ends with it.
  const child = spawn(program, args, {
    cwd: run.cwd,
    env: { ...toolEnvironment(run.cwd), ...run.environment },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${program} could not be started`);
  const end = (): void => signalGroup(pid, "SIGTERM");
  const timers = [
    setTimeout(end, TOOL_MS_MAX),
    setTimeout(() => signalGroup(pid, "SIGKILL"), TOOL_MS_MAX + LAST_WORDS_MS),
  ];
  process.once("exit", end);
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => output.push(chunk));
  const [code] = (await once(child, "close")) as [number | null];
  for (const timer of timers) clearTimeout(timer);
  process.removeListener("exit", end);
  signalGroup(pid, "SIGKILL");
  const text = stripVTControlCharacters(Buffer.concat(output).toString());
  if (code === 0) return text;
  throw new Error(`${program} ${args.join(" ")} ended with ${code}:\n${text.slice(-OUTPUT_CHARACTERS_SHOWN)}`);
}

function toolEnvironment(cwd: string): Record<string, string> {
  const home = join(cwd, "..", "home");
  mkdirSync(home, { recursive: true });
  // Tools that run JavaScript get the Node that runs this.
  const path = [dirname(process.execPath), process.env["PATH"] ?? ""].join(delimiter);
  return { PATH: path, HOME: home, LANG: "C.UTF-8", DO_NOT_TRACK: "1" };
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nothing is left of it.
  }
}
