import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { availableParallelism, userInfo } from "node:os";
import { FILE_SCENARIOS } from "../scenario-names.ts";
import { freePort, PeerProcess } from "./peer-process.ts";
import type { Peer } from "./system.ts";

/** nginx, in C, from Debian's `nginx`: files over HTTP/2. One process a core and one that watches them. */
export const nginx: Peer = {
  name: "nginx",
  program: "nginx",
  system: (programPath) => ({
    name: "nginx",
    durability: "read only",
    scenarios: FILE_SCENARIOS,
    async start(options) {
      const port = await freePort();
      const documentRoot = join(options.directory, "files");
      mkdirSync(documentRoot);
      const configPath = join(options.directory, "nginx.conf");
      writeFileSync(configPath, config(options.directory, documentRoot, port));
      const command = [programPath, "-p", options.directory, "-e", join(options.directory, "error.log")];
      return await PeerProcess.start([...command, "-c", configPath], port, options, documentRoot);
    },
  }),
};

/** Its limits on requests and streams are lifted: they would end connections under load. */
function config(directory: string, documentRoot: string, port: number): string {
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
        listen 127.0.0.1:${port} http2;
        http2_max_concurrent_streams 1000;
        root ${documentRoot};
      }
    }
  `;
}
