import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { availableParallelism, userInfo } from "node:os";
import { FILE_SCENARIOS } from "../scenario-names.ts";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer, RunningSystem, System, SystemOptions } from "./system.ts";

/** nginx, in C, from Debian's `nginx`: files over HTTP/2. One process a core and one that watches them. */
export const nginx: Peer = {
  name: "nginx",
  program: "nginx",
  system: (programPath) => ({
    name: "nginx",
    durability: "read only",
    scenarios: FILE_SCENARIOS,
    start: (options) => start(programPath, options, (port) => `listen 127.0.0.1:${port} http2;`),
  }),
};

/** The same over HTTP/1.1, and what is PUT becomes a file: written, renamed, and never synced. */
export const nginxDav: System = {
  name: "nginx",
  durability: "page cache",
  scenarios: [],
  start: (options) =>
    start("nginx", options, (port) => {
      const limits = "client_max_body_size 0; client_body_buffer_size 128k;";
      return `listen 127.0.0.1:${port}; dav_methods PUT; create_full_put_path on; ${limits}`;
    }),
};

async function start(
  programPath: string,
  options: SystemOptions,
  serverDirectives: (port: number) => string,
): Promise<RunningSystem> {
  const port = await freePort();
  const documentRoot = join(options.directory, "files");
  mkdirSync(documentRoot);
  const configPath = join(options.directory, "nginx.conf");
  writeFileSync(configPath, config(options.directory, documentRoot, serverDirectives(port)));
  const command = [programPath, "-p", options.directory, "-e", join(options.directory, "error.log")];
  return await PeerProcess.start([...command, "-c", configPath], port, options, documentRoot);
}

/** Its limits on requests and streams are lifted: they would end connections under load. */
function config(directory: string, documentRoot: string, serverDirectives: string): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${join(directory, kind)};`,
  );
  return `
    daemon off;
    pid ${join(directory, "nginx.pid")};
    worker_processes ${availableParallelism()};
    ${process.getuid?.() === 0 ? `user ${userInfo().username};` : ""}
    events { worker_connections 4096; }
    http {
      access_log off;
      sendfile on;
      tcp_nodelay on;
      open_file_cache max=10000;
      keepalive_requests 1000000000;
      ${temporary.join(" ")}
      server {
        ${serverDirectives}
        http2_max_concurrent_streams 1000;
        root ${documentRoot};
      }
    }
  `;
}
