import { availableParallelism } from "node:os";
import { type Role, ROLES } from "../auth/role.ts";
import { descriptorLimit } from "./descriptor-limit.ts";
import { fileSystemRoomBytes } from "./file-system-room.ts";
import { memoryLimitBytes } from "./memory-limit.ts";
import {
  choice,
  cidrs,
  count,
  type DocumentPlace,
  duration,
  host,
  type OptionKind,
  optionalPath,
  optionalPathOrUrl,
  optionalText,
  optionalUrl,
  path,
  port,
  quotas,
  share,
  size,
  sizeOrAuto,
} from "./option-kinds.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const GIB = 1024 * MIB;

const OTLP_TRACES_PATH = "/v1/traces";

/** What the defaults of later options are computed from; undefined where the value given was refused. */
interface EarlierValues extends CredentialSources {
  readonly directory?: string;
  readonly maxBytes?: number;
  readonly memoryBudgetBytes?: number;
  readonly requestRate?: number;
}

/** What callers can be known by. */
interface CredentialSources {
  readonly tlsClientCaPath?: string | undefined;
  readonly htpasswdPath?: string | undefined;
  readonly tokensPath?: string | undefined;
  readonly jwtKeysAt?: DocumentPlace | undefined;
}

/** Whether there is anything that a caller can show. */
export function hasCredentials(sources: CredentialSources): boolean {
  const { tlsClientCaPath, htpasswdPath, tokensPath, jwtKeysAt } = sources;
  return [tlsClientCaPath, htpasswdPath, tokensPath, jwtKeysAt].some((source) => source !== undefined);
}

/** Whether it is counted what is stored for which instance. */
export function keepsAccounts({ fairShare, instanceQuotas }: Pick<Config, "fairShare" | "instanceQuotas">): boolean {
  return fairShare === "on" || instanceQuotas.length > 0;
}

/** One option: the command line, the environment, the file, the checks and the README table all come from this. */
export interface Option<T> {
  /** Name on the command line without dashes, and the key in the file. The environment has {@link environmentName}. */
  readonly flag: string;
  readonly kind: OptionKind<T>;
  readonly defaultValue: (earlier: EarlierValues) => T;
  /** The default in words where it depends on the machine or on other options. */
  readonly defaultText?: string;
  /** Variables that others have agreed on, which count where nobody says otherwise; each with what it means here. */
  readonly standardEnvironment?: Readonly<Record<string, (text: string) => string>>;
  readonly help: string;
}

function option<T>(definition: Option<T>): Option<T> {
  return definition;
}

/** Every option, in the order of help and README. Defaults may look at the options before them. */
export const OPTIONS = {
  host: option({
    flag: "host",
    kind: host,
    defaultValue: () => "127.0.0.1",
    help: "address to listen on; anything but loopback is reachable by others, see --auth-tokens and --tls-cert",
  }),
  port: option({
    flag: "port",
    kind: port,
    defaultValue: () => 9092,
    help: "port for gRPC and HTTP; 0 picks a free one",
  }),
  directory: option({
    flag: "dir",
    kind: path,
    defaultValue: () => path.parse("./data")?.value ?? "",
    defaultText: "./data",
    help: "data directory; one process at a time",
  }),
  maxBytes: option({
    flag: "max-size",
    kind: size(32 * MIB),
    defaultValue: ({ directory }) => (directory === undefined ? 0 : fourFifthsOfRoom(directory)),
    defaultText: "4/5 of the room in its file system",
    help: "disk space the cache may take, uploads in progress included; the oldest entries make room for new ones",
  }),
  shardCount: option({
    flag: "shards",
    kind: count(1, 64),
    defaultValue: () => Math.min(64, Math.max(2, availableParallelism()), shardsInMemory()),
    defaultText: "one per CPU, at least 2, and no more than there are 256MiB of memory",
    help: "writing threads; may change from run to run on the same data",
  }),
  listenerCount: option({
    flag: "listeners",
    kind: count(1, 64),
    defaultValue: () => 1,
    help: "threads that take connections and answer calls; more than one helps where that thread is busy and cores are free",
  }),
  durability: option({
    flag: "durability",
    kind: choice("commit", "relaxed"),
    defaultValue: () => "commit" as const,
    help: "commit: acknowledged once synced to disk; relaxed: acknowledged at once, synced about every second",
  }),
  atRest: option({
    flag: "at-rest",
    kind: choice("as-uploaded", "zstd", "identity"),
    defaultValue: () => "as-uploaded" as const,
    help: "how blobs are stored; zstd: compressed where that saves an eighth; identity: decoded, for quick reads by clients without zstd",
  }),
  blobBytesMax: option({
    flag: "max-blob-size",
    kind: size(0),
    defaultValue: () => 0,
    help: "largest blob taken; 0: whatever --staging-size and half of --max-size have room for",
  }),
  memoryBudgetBytes: option({
    flag: "memory-budget",
    kind: size(32 * MIB),
    defaultValue: () => clampMib(budgetInMemory(memoryLimitBytes()), 32 * MIB, GIB),
    defaultText:
      "1/4 of the memory that the process may use, or half of what is beyond 192MiB where that is less; 32MiB to 1GiB",
    help: "memory for what is on its way: half of it for receive windows to grow by, a quarter for large requests and batch answers, the rest see --staging-memory and --hot-blob-memory",
  }),
  stagingMemoryBytes: option({
    flag: "staging-memory",
    kind: size(MIB),
    defaultValue: ({ memoryBudgetBytes = GIB }) => clampMib(memoryBudgetBytes / 8, MIB, 128 * MIB),
    defaultText: "1/8 of --memory-budget, at most 128MiB",
    help: "memory for uploads of small blobs in progress",
  }),
  stagingDiskBytes: option({
    flag: "staging-size",
    kind: size(KIB),
    defaultValue: ({ maxBytes = 0 }) => Math.floor(maxBytes / 4 / KIB) * KIB,
    defaultText: "1/4 of --max-size",
    help: "part of --max-size for uploads of large blobs in progress",
  }),
  hotBlobBytesMax: option({
    flag: "hot-blob-memory",
    kind: size(0),
    defaultValue: ({ memoryBudgetBytes = GIB }) => clampMib(memoryBudgetBytes / 16, MIB, 64 * MIB),
    defaultText: "1/16 of --memory-budget, at most 64MiB",
    help: "memory for small blobs and action results that were read lately, and one and a half times as much for what results refer to and spliced blobs are made of; 0: none",
  }),
  minLeaseMs: option({
    flag: "min-lease",
    kind: duration(0),
    defaultValue: () => 3 * 3_600_000,
    help: "how long a blob that a client was told is present stays at the least",
  }),
  casScope: option({
    flag: "cas-scope",
    kind: choice("shared", "instance"),
    defaultValue: () => "shared" as const,
    help: "shared: a blob is there for every instance name; instance: for the one it was uploaded under, though all share the room",
  }),
  fairShare: option({
    flag: "fair-share",
    kind: choice("off", "on"),
    defaultValue: () => "off" as const,
    help: "on: of each instance that is in use, what it has up to an even part of three quarters of --max-size stays when others need room",
  }),
  instanceQuotas: option({
    flag: "instance-quotas",
    kind: quotas,
    defaultValue: () => [],
    defaultText: "none",
    help: "what each instance may have stored at the most, by patterns of names of which the first that fits counts; with it --fair-share is on",
  }),
  segmentBytesMax: option({
    flag: "segment-size",
    kind: sizeOrAuto(64 * KIB),
    defaultValue: () => undefined,
    help: "size at which a segment file is sealed; auto: from --max-size and --shards",
  }),
  scrubBytesPerSecond: option({
    flag: "scrub-rate",
    kind: size(0),
    defaultValue: () => 8 * MIB,
    help: "bytes a second that are read to find damage before a client does; 0: none",
  }),
  checkpointIntervalMs: option({
    flag: "checkpoint-interval",
    kind: duration(0),
    defaultValue: () => 600_000,
    help: "how often the index is saved, for quick starts after a crash; 0: only when the server stops",
  }),
  messageBytesMax: option({
    flag: "max-message-size",
    kind: size(4 * MIB),
    defaultValue: () => 8 * MIB,
    help: "largest gRPC message taken; longer ones are refused unread",
  }),
  grpcTransport: option({
    flag: "grpc-transport",
    kind: choice("native", "grpc-js"),
    defaultValue: () => "native" as const,
    help: "native: Kura's own HTTP/2 server; grpc-js: @grpc/grpc-js, the reference, at about twice the CPU time",
  }),
  streamWindowBytes: option({
    flag: "stream-window",
    kind: size(64 * KIB, GIB),
    defaultValue: ({ memoryBudgetBytes = GIB }) => clampKib(memoryBudgetBytes / 128, 64 * KIB, 8 * MIB),
    defaultText: "1/128 of --memory-budget, at most 8MiB",
    help: "bytes of one upload that may be on their way or wait here; a fast upload over a long line needs many",
  }),
  connectionWindowBytes: option({
    flag: "connection-window",
    kind: size(MIB, GIB),
    defaultValue: ({ memoryBudgetBytes = GIB }) => clampKib(memoryBudgetBytes / 32, MIB, 32 * MIB),
    defaultText: "1/32 of --memory-budget, at most 32MiB",
    help: "the same for all uploads of one connection; it gets so much only while what it sends is taken at once",
  }),
  connectionAgeMsMax: option({
    flag: "max-connection-age",
    kind: duration(0),
    defaultValue: () => 0,
    help: "a gRPC connection of this age, give or take a tenth, is closed once its calls are done, so that load spreads; 0: none",
  }),
  tlsCertPath: option({
    flag: "tls-cert",
    kind: optionalPath,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "PEM file with the certificate and those between it and the root; with it, only TLS 1.2 or later is taken",
  }),
  tlsKeyPath: option({
    flag: "tls-key",
    kind: optionalPath,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "PEM file with the private key of --tls-cert",
  }),
  tlsClientCaPath: option({
    flag: "tls-client-ca",
    kind: optionalPath,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "PEM file with the certificates of those who issue client certificates; a client is then known by its common name",
  }),
  tlsClientAuth: option({
    flag: "tls-client-auth",
    kind: choice("optional", "required"),
    defaultValue: () => "optional" as const,
    help: "required: with --tls-client-ca, nobody gets a connection without a client certificate",
  }),
  htpasswdPath: option({
    flag: "auth-htpasswd",
    kind: optionalPath,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "users and passwords, as `htpasswd -B` writes them",
  }),
  tokensPath: option({
    flag: "auth-tokens",
    kind: optionalPath,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "tokens, each a line NAME:HASH with its SHA-256 in hex; sent as Bearer, or as the password of NAME",
  }),
  jwtKeysAt: option({
    flag: "auth-jwt-keys",
    kind: optionalPathOrUrl,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "public keys of JSON Web Tokens: a JWKS, a JWK or PEM, or the URL of a JWKS; needs the next two and --auth-rules",
  }),
  jwtIssuer: option({
    flag: "auth-jwt-issuer",
    kind: optionalText,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "issuer (iss) that JSON Web Tokens must have",
  }),
  jwtAudience: option({
    flag: "auth-jwt-audience",
    kind: optionalText,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "audience (aud) that JSON Web Tokens must have",
  }),
  accessRulesPath: option({
    flag: "auth-rules",
    kind: optionalPath,
    defaultValue: () => undefined,
    defaultText: "none",
    help: "YAML file that says which caller has which role in which instance; who matches no rule has none",
  }),
  authenticatedRole: option({
    flag: "auth-role",
    kind: choice(...ROLES),
    defaultValue: () => "ac-writer" as const,
    help: "without --auth-rules: role of whoever shows a right password, token or client certificate",
  }),
  anonymousRole: option({
    flag: "anonymous-role",
    kind: choice(...ROLES),
    defaultValue: (earlier): Role => (hasCredentials(earlier) ? "none" : "admin"),
    defaultText: "none; admin where nobody can show anything",
    help: "role of those who show nothing",
  }),
  statusRole: option({
    flag: "status-role",
    kind: choice(...ROLES),
    defaultValue: () => "reader" as const,
    help: "role needed for /status and /metrics; /healthz, /readyz and grpc.health.v1 are open to all",
  }),
  connectionCountMax: option({
    flag: "max-connections",
    kind: count(1, 1_000_000),
    // The other half is for segments and uploads (HAZARDS H9); an idle process has about 40 open.
    defaultValue: () => Math.min(4096, Math.max(4, Math.ceil((descriptorLimit() - 40) / 2))),
    defaultText: "4096, or half of the file descriptors that are left",
    help: "open connections; further ones are closed at once",
  }),
  addressConnectionCountMax: option({
    flag: "max-connections-per-address",
    kind: count(0, 1_000_000),
    defaultValue: () => 0,
    help: "open connections of one client address, in each listener thread; further ones are closed at once; 0: any",
  }),
  requestRate: option({
    flag: "request-rate",
    kind: count(0, 1_000_000),
    defaultValue: () => 0,
    help: "requests a second of one caller, over gRPC and HTTP and in all listeners together; further ones are told when to come again; 0: any",
  }),
  requestBurst: option({
    flag: "request-burst",
    kind: count(1, 10_000_000),
    defaultValue: ({ requestRate = 0 }) => Math.max(1, 10 * requestRate),
    defaultText: "10 times --request-rate",
    help: "requests that a caller may make at once after a pause, where there is --request-rate",
  }),
  uploadIdleTimeoutMs: option({
    flag: "upload-idle-timeout",
    kind: duration(1),
    defaultValue: () => 60_000,
    help: "an upload of which no byte comes for this long is ended, and one of which fewer than 16 KiB come in ten times as long",
  }),
  downloadIdleTimeoutMs: option({
    flag: "download-idle-timeout",
    kind: duration(1),
    defaultValue: () => 60_000,
    help: "a client that has not taken what was sent to it last, 512 KiB at the most, after this long is given up, as is a gRPC request that does not become whole",
  }),
  assetOriginFetch: option({
    flag: "asset-origin-fetch",
    kind: choice("off", "on"),
    defaultValue: () => "off" as const,
    help: "on: what the Remote Asset API is asked for and has not stored is fetched from its http or https URI",
  }),
  assetPrivateRanges: option({
    flag: "asset-allow-private",
    kind: cidrs,
    defaultValue: () => [],
    defaultText: "none",
    help: "private, loopback and other special addresses that origins may have; the rest of them is refused",
  }),
  assetBytesMax: option({
    flag: "asset-max-size",
    kind: size(0),
    defaultValue: () => 0,
    help: "largest content fetched from an origin; 0: the largest blob",
  }),
  assetTimeoutMs: option({
    flag: "asset-timeout",
    kind: duration(1),
    defaultValue: () => 600_000,
    help: "time for one fetch from an origin, all attempts together; a client may ask for less",
  }),
  actionValidation: option({
    flag: "validate-ac",
    kind: choice("off", "on"),
    defaultValue: () => "off" as const,
    help: "on: what is stored under /ac/ over HTTP must be an action result; ccache's layout `bazel` stores other things there",
  }),
  drainTimeoutMs: option({
    flag: "drain-timeout",
    kind: duration(0),
    defaultValue: () => 30_000,
    help: "time for calls in flight to finish after SIGTERM",
  }),
  logLevel: option({
    flag: "log-level",
    kind: choice("fatal", "error", "warn", "info", "debug", "trace", "silent"),
    defaultValue: () => "info" as const,
    help: "least severe message to log (to stderr)",
  }),
  logFormat: option({
    flag: "log-format",
    kind: choice("auto", "json", "text"),
    defaultValue: () => "auto" as const,
    help: "json: one object a line; text: for people; auto: text on a terminal, else json",
  }),
  accessLogRate: option({
    flag: "access-log",
    kind: share,
    defaultValue: () => 0,
    help: "share of the requests that are logged when they end, each as a line of JSON on stderr; 0: none, 1: all",
  }),
  otlpUrl: option({
    flag: "otlp-endpoint",
    kind: optionalUrl(OTLP_TRACES_PATH),
    defaultValue: () => undefined,
    defaultText: "none",
    standardEnvironment: {
      OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: (url) => url,
      OTEL_EXPORTER_OTLP_ENDPOINT: (url) => url.replace(/\/*$/, OTLP_TRACES_PATH),
    },
    help: "collector that traces of requests are sent to by OTLP over HTTP; the standard OTEL_EXPORTER_OTLP_... do it, too",
  }),
  traceSampleRate: option({
    flag: "trace-sample",
    kind: share,
    defaultValue: () => 1,
    standardEnvironment: { OTEL_TRACES_SAMPLER_ARG: (text) => text },
    help: "share of the traces begun here that are recorded; what belongs to a trace of the client goes by that",
  }),
};

export type OptionName = keyof typeof OPTIONS;
type OptionValue<O> = O extends Option<infer T> ? T : never;

/** Effective values, checked. Names carry the units. */
export type Config = { readonly [Name in OptionName]: OptionValue<(typeof OPTIONS)[Name]> };

/** The environment variable of an option: `--max-size` is `KURA_MAX_SIZE`. */
export function environmentName(flag: string): string {
  return `KURA_${flag.toUpperCase().replaceAll("-", "_")}`;
}

/** The default as help and README show it. */
export function defaultText({ defaultText: inWords, defaultValue, kind }: Option<unknown>): string {
  return inWords ?? kind.format(defaultValue({}));
}

/** What the process itself takes, without any load, counts in full where there is little. */
function budgetInMemory(limitBytes: number): number {
  return Math.min(limitBytes / 4, (limitBytes - 192 * MIB) / 2);
}

function shardsInMemory(): number {
  return Math.max(1, Math.floor(memoryLimitBytes() / (256 * MIB)));
}

function clampMib(bytes: number, bytesMin: number, bytesMax: number): number {
  return clamp(bytes, MIB, bytesMin, bytesMax);
}

function clampKib(bytes: number, bytesMin: number, bytesMax: number): number {
  return clamp(bytes, KIB, bytesMin, bytesMax);
}

function clamp(bytes: number, unitBytes: number, bytesMin: number, bytesMax: number): number {
  return Math.min(bytesMax, Math.max(bytesMin, Math.floor(bytes / unitBytes) * unitBytes));
}

function fourFifthsOfRoom(directory: string): number {
  return Math.max(32 * MIB, Math.floor((fileSystemRoomBytes(directory) * 4) / 5 / MIB) * MIB);
}
