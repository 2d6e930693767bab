import { accessSync, constants } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { bazelRemote } from "./bazel-remote.ts";
import { bbStorage } from "./bb-storage.ts";
import { buildboxCasd } from "./buildbox-casd.ts";
import { buildgrid } from "./buildgrid.ts";
import { nativelink } from "./nativelink.ts";
import { nghttpd } from "./nghttpd.ts";
import { nginx } from "./nginx.ts";
import type { Peer, System } from "./system.ts";

const PEERS: readonly Peer[] = [bazelRemote, bbStorage, nativelink, buildboxCasd, buildgrid, nghttpd, nginx];

/**
 * The peers that are on this machine.
 * @param given `NAME=PATH`, for programs that are not on the PATH
 * @throws where a given one is unknown or is no program
 */
export function findPeers(given: readonly string[]): { found: System[]; absent: string[] } {
  const paths = new Map(
    given.map((text) => {
      const [name = "", path = ""] = text.split("=");
      const peer = PEERS.find((candidate) => candidate.name === name);
      if (peer === undefined) throw new RangeError(`--peer: expected NAME=PATH with ${names()}, got ${text}`);
      if (!isProgram(path)) throw new RangeError(`--peer: ${path} is no program`);
      return [name, resolve(path)];
    }),
  );
  const found: System[] = [];
  const absent: string[] = [];
  for (const peer of PEERS) {
    const path = paths.get(peer.name) ?? onPath(peer.program);
    if (path === undefined) absent.push(peer.name);
    else found.push(peer.system(path));
  }
  return { found, absent };
}

function names(): string {
  return PEERS.map((peer) => peer.name).join(", ");
}

function onPath(program: string): string | undefined {
  const directories = process.env["PATH"]?.split(delimiter) ?? [];
  return directories.map((directory) => join(directory, program)).find((path) => isProgram(path));
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
