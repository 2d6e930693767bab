import { readFileSync } from "node:fs";
import type { Config } from "../config.ts";

/** What is read again while the server runs, as text; undefined where there is no such file. */
export interface CredentialFiles {
  readonly htpasswd: string | undefined;
  readonly tokens: string | undefined;
  /** Undefined, too, where the keys are at a URL. */
  readonly jwtKeys: string | undefined;
  readonly rules: string | undefined;
}

/** @throws {Error} naming the option whose file cannot be read. */
export function readCredentialFiles(config: Config): CredentialFiles {
  const { htpasswdPath, tokensPath, jwtKeysAt, accessRulesPath } = config;
  return {
    htpasswd: readText("--auth-htpasswd", htpasswdPath),
    tokens: readText("--auth-tokens", tokensPath),
    jwtKeys: readText("--auth-jwt-keys", jwtKeysAt?.path),
    rules: readText("--auth-rules", accessRulesPath),
  };
}

function readText(option: string, path: string | undefined): string | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${option} ${path} cannot be read: ${reason}`, { cause });
  }
}
