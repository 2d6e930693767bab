import process from "node:process";
import { stringify } from "yaml";
import { type CommandName, type Flag, parseCommandLine } from "./config/command-line.ts";
import { readConfigFile } from "./config/config-file.ts";
import {
  type Config,
  defaultText,
  environmentName,
  hasCredentials,
  type Option,
  type OptionName,
  OPTIONS,
} from "./config/options.ts";
import { listeningAddressOf } from "./service-manager/listening-address.ts";
import {
  type InheritedSocket,
  readServiceEnvironment,
  SERVICE_VARIABLES,
  type ServiceEnvironment,
  type ServiceProcess,
} from "./service-manager/service-environment.ts";

export { type Config, hasCredentials, keepsAccounts } from "./config/options.ts";

/**
 * One effective value and where it came from: `flag --port`, `environment KURA_PORT`, `file <path>`, `default`, or
 * `inherited socket`, which goes before all others.
 */
export interface Setting {
  readonly flag: string;
  readonly text: string;
  readonly source: string;
}

/** What the command line asks for. */
export type Invocation =
  | {
      readonly command: CommandName;
      readonly config: Config;
      readonly settings: readonly Setting[];
      readonly service: ServiceEnvironment;
    }
  /** `--help`, `--version`: print and exit 0. */
  | { readonly command: "print"; readonly text: string }
  /** Nothing can be done; every problem found, each a sentence. */
  | { readonly command: "refuse"; readonly problems: readonly string[] };

const THIS_PROCESS: ServiceProcess = { pid: process.pid, listeningAddressOf };

/**
 * Reads the command line, the environment and the file named by `--config`, in this order of precedence.
 * @param args without the interpreter and the script.
 */
export function loadConfig(
  args: readonly string[] = process.argv.slice(2),
  environment: Readonly<Record<string, string | undefined>> = process.env,
  serviceProcess: ServiceProcess = THIS_PROCESS,
): Invocation {
  const commandLine = parseCommandLine(args, describeFlags());
  if (commandLine.kind === "print") return { command: "print", text: commandLine.text };

  const problems = [...commandLine.problems];
  const configPath = commandLine.flags.get("config") ?? nonEmpty(environment[environmentName("config")]);
  const file = readConfigFile(configPath, new Set(Object.values(OPTIONS).map(({ flag }) => flag)));
  problems.push(...file.problems);
  const forService = commandLine.command === "verify" ? {} : environment;
  const service = readServiceEnvironment(forService, serviceProcess, problems);

  const { values, settings } = resolveOptions(({ flag, standardEnvironment }) => {
    const label = environmentName(flag);
    return (
      asGiven(inheritedText(flag, service.socket), "inherited socket (LISTEN_FDS)", "LISTEN_FDS") ??
      asGiven(flag === OPTIONS.directory.flag ? commandLine.operand : undefined, "argument", "directory") ??
      asGiven(commandLine.flags.get(flag), `flag --${flag}`, `--${flag}`) ??
      asGiven(nonEmpty(environment[label]), `environment ${label}`, label) ??
      asGiven(file.values.get(flag), `file ${configPath}`, `${configPath}: ${flag}`) ??
      givenByStandard(standardEnvironment, environment)
    );
  }, problems);
  // Each option of the table got a value, or else a problem, which is looked at below.
  const config = values as Config;
  if (problems.length === 0) problems.push(...conflictsIn(config, service));
  if (problems.length > 0) return { command: "refuse", problems };
  return { command: commandLine.command, config, settings, service };
}

/** Takes what was meant for this process alone out of what the processes that it starts are given. */
export function forgetServiceEnvironment(): void {
  for (const name of SERVICE_VARIABLES) delete process.env[name];
}

/** The effective options as a file that `--config` takes, each with its source as a comment. */
export function formatSettings(settings: readonly Setting[]): string {
  const lines = settings.map(({ flag, text, source }) => ({ line: stringify({ [flag]: text }).trimEnd(), source }));
  const width = Math.max(...lines.map(({ line }) => line.length));
  return lines.map(({ line, source }) => `${line.padEnd(width)}  # ${source}\n`).join("");
}

function describeFlags(): Flag[] {
  const config = {
    flag: "config",
    placeholder: "FILE",
    description: `YAML file with options by name, such as "port: 9092" (${environmentName("config")})`,
  };
  const described = Object.values<Option<unknown>>(OPTIONS).map((definition) => ({
    flag: definition.flag,
    placeholder: definition.kind.placeholder,
    description: `${definition.help} (${environmentName(definition.flag)}, default: ${defaultText(definition)})`,
  }));
  return [...described, config];
}

/** What a socket that is bound already says of the options that are about binding one. */
function inheritedText(flag: string, socket: InheritedSocket | undefined): string | undefined {
  if (flag === OPTIONS.host.flag) return socket?.host;
  return flag === OPTIONS.port.flag ? socket?.port.toString() : undefined;
}

interface GivenText {
  readonly text: string;
  readonly source: string;
  /** Where to look for the value at fault. */
  readonly label: string;
}

function asGiven(text: string | undefined, source: string, label: string): GivenText | undefined {
  return text === undefined ? undefined : { text, source, label };
}

/** The first that has a value. */
function givenByStandard(
  names: Option<unknown>["standardEnvironment"] = {},
  environment: Readonly<Record<string, string | undefined>>,
): GivenText | undefined {
  for (const [name, meaning] of Object.entries(names)) {
    const text = nonEmpty(environment[name]);
    if (text !== undefined) return asGiven(meaning(text), `environment ${name}`, name);
  }
  return undefined;
}

function resolveOptions(given: (option: Option<unknown>) => GivenText | undefined, problems: string[]) {
  const values: Record<string, unknown> = {};
  const settings: Setting[] = [];
  for (const [name, definition] of Object.entries(OPTIONS) as [OptionName, Option<unknown>][]) {
    const { flag, kind } = definition;
    const found = given(definition);
    if (found === undefined) {
      try {
        values[name] = definition.defaultValue(values);
        settings.push({ flag, text: kind.format(values[name]), source: "default" });
      } catch (error) {
        problems.push(`--${flag}: no default could be found, give one: ${messageOf(error)}`);
      }
      continue;
    }
    const parsed = kind.parse(found.text);
    if (parsed === undefined) {
      problems.push(`${found.label}: expected ${kind.expected}, got ${JSON.stringify(found.text)}`);
    } else {
      values[name] = parsed.value;
      settings.push({ flag, text: found.text, source: found.source });
    }
  }
  return { values, settings };
}

/** Values that are fine alone and not together. */
function conflictsIn(config: Config, { socket }: ServiceEnvironment): string[] {
  const { maxBytes, stagingDiskBytes, blobBytesMax, listenerCount, instanceQuotas } = config;
  const bytes = (value: number) => OPTIONS.maxBytes.kind.format(value);
  const problems: string[] = [];
  if (stagingDiskBytes >= maxBytes) {
    problems.push(
      `--staging-size: expected less than --max-size (${bytes(maxBytes)}), which it is part of, got ${bytes(stagingDiskBytes)}`,
    );
  }
  if (blobBytesMax > maxBytes) {
    problems.push(`--max-blob-size: expected at most --max-size (${bytes(maxBytes)}), got ${bytes(blobBytesMax)}`);
  }
  for (const { pattern, bytesMax } of instanceQuotas) {
    if (bytesMax <= maxBytes) continue;
    const quota = `${pattern.text}=${bytes(bytesMax)}`;
    problems.push(`--instance-quotas: expected at most --max-size (${bytes(maxBytes)}) each, got ${quota}`);
  }
  if (socket !== undefined && listenerCount > 1) {
    // Each thread closes the descriptor that it listens on, and Node cannot duplicate one.
    problems.push(
      `--listeners: expected 1 with a socket that is inherited (LISTEN_FDS), which threads of Node cannot share, got ${listenerCount}`,
    );
  }
  return [...problems, ...accessConflictsIn(config)];
}

function accessConflictsIn(config: Config): string[] {
  const { tlsCertPath, tlsKeyPath, tlsClientCaPath, tlsClientAuth } = config;
  const { jwtKeysAt, jwtIssuer, jwtAudience, accessRulesPath } = config;
  const problems: string[] = [];
  if ((tlsCertPath === undefined) !== (tlsKeyPath === undefined)) {
    problems.push("--tls-cert and --tls-key: expected both or neither");
  }
  if (tlsClientCaPath !== undefined && tlsCertPath === undefined) {
    problems.push("--tls-client-ca: expected --tls-cert and --tls-key with it");
  }
  if (tlsClientAuth === "required" && tlsClientCaPath === undefined) {
    problems.push("--tls-client-auth required: expected --tls-client-ca with it");
  }
  const jwtNeeds = [jwtIssuer, jwtAudience, accessRulesPath];
  if (jwtKeysAt !== undefined && jwtNeeds.includes(undefined)) {
    // An issuer has tokens for anybody: its word says who somebody is, not what they may do here.
    problems.push("--auth-jwt-keys: expected --auth-jwt-issuer, --auth-jwt-audience and --auth-rules with it");
  }
  if (accessRulesPath !== undefined && !hasCredentials(config)) {
    problems.push("--auth-rules: expected --auth-tokens, --auth-htpasswd, --auth-jwt-keys or --tls-client-ca with it");
  }
  return problems;
}

/** An empty variable counts as unset: it is how many launchers write "no value". */
function nonEmpty(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
