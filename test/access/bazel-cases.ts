import { once } from "node:events";
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { fileURLToPath } from "node:url";
import { runTool } from "../clients/run-tool.ts";
import type { AccessCase, Surroundings } from "./access-case.ts";

const WORKSPACE = fileURLToPath(new URL("../clients/bazel-tree/ws", import.meta.url));
/** Actions of the workspace. */
const ACTION_COUNT = 81;

/** What Bazel's last line says. */
interface Build {
  readonly hits: number;
  readonly made: number;
  readonly output: string;
}

/** Debian's Bazel finds no ALPN in its Java, so that something beside it has to speak TLS. */
class TlsTunnel implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor({ endpoint, certificate }: Surroundings, protocol: "h2" | "http/1.1") {
    const to = { port: Number(endpoint.split(":")[1]), servername: "localhost", ALPNProtocols: [protocol] };
    const ca = readFileSync(certificate);
    this.#server = createServer((near) => {
      const far = connectTls({ ...to, ca });
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on("error", () => {}).once("close", () => this.#sockets.delete(socket));
      }
      near.pipe(far).pipe(near);
    });
  }

  static async start(around: Surroundings, protocol: "h2" | "http/1.1"): Promise<TlsTunnel> {
    const tunnel = new TlsTunnel(around, protocol);
    await once(tunnel.#server.listen(0, "127.0.0.1"), "listening");
    return tunnel;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await once(this.#server.close(), "close");
  }
}

interface BuildOptions {
  readonly token: string;
  /** Other outputs for another one. */
  readonly salt: string;
  readonly protocol?: "grpc" | "http";
  readonly flags?: readonly string[];
}

/** One build from nothing but the remote cache. @throws where it fails. */
async function build(around: Surroundings, options: BuildOptions): Promise<Build> {
  const { token, salt, protocol = "grpc", flags = [] } = options;
  const { directory } = around;
  await using tunnel = await TlsTunnel.start(around, protocol === "grpc" ? "h2" : "http/1.1");
  const workspace = join(directory, "ws");
  cpSync(WORKSPACE, workspace, { recursive: true });
  writeFileSync(join(workspace, "salt.txt"), `${salt}\n`);
  const startup = ["--nohome_rc", "--noworkspace_rc", "--max_idle_secs=5"].concat(
    `--output_user_root=${join(directory, "root")}`,
    `--output_base=${join(directory, "base")}`,
  );
  // Over HTTP a token is the password of its name; over gRPC it is a header.
  const remote =
    protocol === "http"
      ? [`--remote_cache=http://${token}@127.0.0.1:${tunnel.port}`]
      : [
          `--remote_cache=grpc://127.0.0.1:${tunnel.port}`,
          `--remote_header=authorization=Bearer ${token.split(":")[1]}`,
        ];
  const local = ["--spawn_strategy=local", "--genrule_strategy=local", "--incompatible_strict_action_env"];
  const quiet = ["--symlink_prefix=/", "--color=no", "--curses=no", "--noshow_progress", "--show_result=0"];
  const args = [...startup, "build", "//...", ...remote, ...flags, ...local, ...quiet];
  const output = await runTool("bazel", args, { cwd: workspace });
  await runTool("bazel", [...startup, "shutdown"], { cwd: workspace });
  const count = (what: RegExp): number => Number(what.exec(output)?.[1] ?? 0);
  return { hits: count(/(\d+) remote cache hit/), made: count(/(\d+) local/), output };
}

/** @returns what is not as it should be. */
function expectBuild({ hits, made, output }: Build, wantedHits: number): string[] {
  if (hits === wantedHits && made === ACTION_COUNT - wantedHits) return [];
  return [`expected ${wantedHits} hits of ${ACTION_COUNT}, got ${hits}, and ${made} made:\n${output.slice(-2000)}`];
}

const WRITER = "ci:ci-token";
const READER = "dev:dev-token";
/** What the README tells readers to set. */
const READ_ONLY = ["--remote_upload_local_results=false"];

/** A build that is expected to end with an error of Bazel's which says this. */
async function expectFailure(building: Promise<Build>, expected: string): Promise<string[]> {
  const outcome = await building.then(
    ({ output }) => `it succeeded:\n${output}`,
    (error: unknown) => String(error),
  );
  return outcome.includes(expected) ? [] : [outcome];
}

/** In this order: what the reader finds is what the writer has stored. */
export const BAZEL_CASES: readonly AccessCase[] = [
  {
    name: "Bazel: a writer's build is stored",
    run: async (around) => expectBuild(await build(around, { token: WRITER, salt: "written" }), 0),
  },
  {
    name: "Bazel: a reader's build comes out of the cache",
    run: async (around) =>
      expectBuild(await build(around, { token: READER, salt: "written", flags: READ_ONLY }), ACTION_COUNT),
  },
  {
    name: "Bazel: a reader's build of something new succeeds",
    run: async (around) => expectBuild(await build(around, { token: READER, salt: "new", flags: READ_ONLY }), 0),
  },
  {
    name: "Bazel: a reader who wants to upload is told that it may not",
    run: (around) =>
      expectFailure(build(around, { token: READER, salt: "new" }), "is not authorized to write local results"),
  },
  {
    name: "Bazel over HTTP: a reader's upload is refused, and its build succeeds",
    run: async (around) => {
      const built = await build(around, { token: READER, salt: "new", protocol: "http" });
      const isRefused = built.output.includes("WARNING: Writing to Remote Cache");
      return [...expectBuild(built, 0), ...(isRefused ? [] : [`no upload was refused:\n${built.output}`])];
    },
  },
  {
    name: "Bazel: of all that nothing was stored",
    run: async (around) => expectBuild(await build(around, { token: WRITER, salt: "new" }), 0),
  },
  {
    name: "Bazel: a wrong token brings nothing",
    run: (around) => expectFailure(build(around, { token: "ci:wrong", salt: "written" }), "UNAUTHENTICATED"),
  },
];
