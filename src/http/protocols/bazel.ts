import type { ActionCache } from "../../cache/action-cache.ts";
import type { ActionResultFormat } from "../../cache/action-result-format.ts";
import type { BlobStore } from "../../cache/blob-store.ts";
import type { BlobsByHash } from "../../cache/blobs-by-hash.ts";
import { CacheError } from "../../cache/cache-error.ts";
import type { CacheMeter } from "../../cache/cache-meter.ts";
import { type Digest, type DigestHash, parseDigest, parseDigestHash } from "../../cache/digest.ts";
import type { Encoding } from "../../cache/encoding.ts";
import { actionName } from "../../cache/entry-key.ts";
import { checkInstanceName } from "../../cache/instance-name.ts";
import { MeasuredValueStore } from "../../cache/measured-value-store.ts";
import type { ValueStore } from "../../cache/value-store.ts";
import { DecodingUpload } from "../../cache/zstd/decoding-upload.ts";
import { sendContent } from "../content-response.ts";
import type { HttpExchange, HttpRoutes } from "../http-router.ts";
import { bodyEncoding, declaredBytes, type RequestBodies } from "../request-body.ts";
import type { RouteAccess } from "../route-access.ts";
import { OCTET_STREAM, rangeFor, sendBytes, sendHead, sendStored, sendValue } from "../value-exchange.ts";

export interface BazelProtocolOptions {
  readonly bodies: RequestBodies;
  /** Counted where clients use it. */
  readonly blobs: BlobStore;
  readonly blobsByHash: BlobsByHash;
  /** Answers complete entries only (I8); not counted. */
  readonly actions: ActionCache;
  /** Whatever is filed under the names of actions, complete or not; not counted. */
  readonly actionValues: ValueStore;
  readonly format: ActionResultFormat;
  readonly meter: CacheMeter;
  /** Larger values are no action results. */
  readonly actionResultBytesMax: number;
  /** Whether only action results may be stored as such. */
  readonly validatesActions: boolean;
}

const instanceOf = ({ params }: HttpExchange): string => params["prefix"] ?? "";
const READ: RouteAccess = { role: "reader", instanceOf };
const WRITE_BLOBS: RouteAccess = { role: "cas-writer", instanceOf };
const WRITE_ACTIONS: RouteAccess = { role: "ac-writer", instanceOf };
const JSON_TYPE = "application/json";
/** Blobs are given as they are stored, to who takes them so. */
const BLOB_HEADERS = { ...OCTET_STREAM, vary: "accept-encoding" };
const ZSTD_WANTED = /(?:^|,)\s*zstd\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)/i;

/** Bazel's HTTP cache: `/{instance/}cas/{hash}` and `/{instance/}ac/{hash}` (BEHAVIOUR 8). */
export function bazelRoutes(protocolOf: (instanceName: string) => BazelProtocol): HttpRoutes {
  const protocol = ({ params }: HttpExchange): BazelProtocol => protocolOf(checkInstanceName(params["prefix"] ?? ""));
  return (router) => {
    router.routeEnding("GET", "/cas/:hash", READ, (exchange) => protocol(exchange).sendBlob(exchange));
    router.routeEnding("PUT", "/cas/:hash", WRITE_BLOBS, (exchange) => protocol(exchange).storeBlob(exchange));
    router.routeEnding("GET", "/ac/:hash", READ, (exchange) => protocol(exchange).sendAction(exchange));
    router.routeEnding("PUT", "/ac/:hash", WRITE_ACTIONS, (exchange) => protocol(exchange).storeAction(exchange));
  };
}

/** What a path names. */
interface NamedHash {
  readonly instanceName: string;
  readonly named: DigestHash;
}

/** What the protocol does with the blobs and the results of one instance, or of all of them. */
export class BazelProtocol {
  readonly #options: BazelProtocolOptions;
  readonly #countedValues: ValueStore;

  constructor(options: BazelProtocolOptions) {
    this.#options = options;
    this.#countedValues = new MeasuredValueStore(options.actionValues, options.meter, "ac");
  }

  async sendBlob(exchange: HttpExchange): Promise<void> {
    const { blobs, blobsByHash, meter } = this.#options;
    const { named } = nameOf(exchange);
    const finding = blobsByHash.find(named);
    const digest = finding instanceof Promise ? await finding : finding;
    if (digest === undefined) {
      meter.countLookups("cas", "miss", 1);
      throw absentBlob(named);
    }
    if (exchange.request.method === "HEAD") return this.#sendBlobHead(exchange, digest);
    const range = rangeFor(exchange, digest.sizeBytes);
    const getting = blobs.get(digest, range, acceptedEncoding(exchange));
    const content = getting instanceof Promise ? await getting : getting;
    if (content === undefined) throw absentBlob(named);
    await sendContent(exchange, content, range, BLOB_HEADERS);
  }

  async storeBlob(exchange: HttpExchange): Promise<void> {
    const { bodies, blobs, blobsByHash, meter } = this.#options;
    const { named } = nameOf(exchange);
    const encoding = bodyEncoding(exchange.request, ["identity", "zstd"]);
    const sizeBytes = encoding === "identity" ? declaredBytes(exchange.request) : undefined;
    // Checks the size against the hash, too.
    const declared = sizeBytes === undefined ? undefined : parseDigest(named.hash, sizeBytes, named.fn);
    const present = declared ?? (await blobsByHash.find(named));
    // The answer relies on the blob, so that it is used now: its lease is renewed.
    if (present !== undefined && blobs.peek(present) && (await blobs.renewAll([present]))) {
      const mustBeEmpty = present.sizeBytes === 0 && encoding === "identity";
      await bodies.read(exchange, mustBeEmpty ? refuseBytes : () => undefined);
    } else if (declared !== undefined) {
      await bodies.store(exchange, ({ signal }) => blobs.stage(declared, signal));
    } else {
      const bytes = await bodies.store(exchange, async ({ signal }) => {
        const staged = await blobsByHash.stage(named, signal);
        return encoding === "identity" ? staged : new DecodingUpload(staged, bodies.bytesMax);
      });
      meter.countBytes("cas", "written", bytes);
    }
    sendStored(exchange);
  }

  /**
   * Values are what was stored, byte for byte. One that is an action result is there while all that it refers to is;
   * of one that is something else, such as ccache's, nothing more is known.
   */
  async sendAction(exchange: HttpExchange): Promise<void> {
    const { actions, actionValues, actionResultBytesMax, meter } = this.#options;
    const { instanceName, named } = nameOf(exchange);
    const name = actionName(instanceName, named);
    const sizeBytes = actionValues.find(name);
    const mayBeResult = sizeBytes !== undefined && sizeBytes <= actionResultBytesMax;
    const getting = mayBeResult ? actions.get(instanceName, named) : undefined;
    const actionResult = getting instanceof Promise ? await getting : getting;
    if (actionResult !== undefined) {
      meter.countLookups("ac", "hit", 1);
      meter.countBytes("ac", "read", actionResult.length);
      return this.#sendActionResult(exchange, actionResult);
    }
    const isAbsent = sizeBytes === undefined || wantsJson(exchange);
    if (isAbsent || (mayBeResult && (await this.#isActionResult(name, named)))) {
      meter.countLookups("ac", "miss", 1);
      throw new CacheError("not_found", `no complete action result for ${named.hash} is in the cache`);
    }
    await sendValue(exchange, this.#countedValues, name);
  }

  async storeAction(exchange: HttpExchange): Promise<void> {
    const { bodies, actions, actionResultBytesMax, format, meter, validatesActions } = this.#options;
    const { instanceName, named } = nameOf(exchange);
    bodyEncoding(exchange.request, ["identity"]);
    const isJson = mediaType(exchange.request.headers["content-type"]) === JSON_TYPE;
    if (isJson || validatesActions) {
      const body = await bodies.bytes(exchange, actionResultBytesMax);
      const encoded = isJson ? format.fromJson(body.toString()) : body;
      format.check(encoded, named.fn);
      await actions.put(instanceName, named, encoded);
      meter.countBytes("ac", "written", encoded.length);
    } else {
      const name = actionName(instanceName, named);
      await bodies.store(exchange, (options) => this.#countedValues.stage(name, options));
    }
    sendStored(exchange);
  }

  async #sendBlobHead(exchange: HttpExchange, digest: Digest): Promise<void> {
    const { blobs, meter } = this.#options;
    const isPresent = await blobs.renewAll([digest]);
    meter.countLookups("cas", isPresent ? "hit" : "miss", 1);
    if (!isPresent) throw absentBlob(digest);
    sendHead(exchange, digest.sizeBytes, BLOB_HEADERS);
  }

  #sendActionResult(exchange: HttpExchange, actionResult: Uint8Array): void {
    if (!wantsJson(exchange)) return sendBytes(exchange, actionResult, OCTET_STREAM);
    const json = this.#options.format.toJson(actionResult);
    sendBytes(exchange, Buffer.from(json), { "content-type": JSON_TYPE });
  }

  async #isActionResult(name: string, { fn }: DigestHash): Promise<boolean> {
    const content = await this.#options.actionValues.get(name);
    if (content === undefined) return false;
    const stored = await content.bytes();
    try {
      this.#options.format.check(stored, fn);
      return true;
    } catch {
      return false;
    }
  }
}

function nameOf(exchange: HttpExchange): NamedHash {
  const { params } = exchange;
  return { instanceName: checkInstanceName(instanceOf(exchange)), named: parseDigestHash(params["hash"] ?? "") };
}

function absentBlob({ hash }: DigestHash): CacheError {
  return new CacheError("not_found", `blob ${hash} is not in the cache`);
}

/** For the body of the empty blob. */
function refuseBytes(chunk: Uint8Array): void {
  throw new CacheError(
    "invalid_argument",
    `body: expected none for the empty blob, got at least ${chunk.length} bytes`,
  );
}

function acceptedEncoding({ request }: HttpExchange): Encoding {
  return ZSTD_WANTED.test(request.headers["accept-encoding"] ?? "") ? "zstd" : "identity";
}

function wantsJson({ request }: HttpExchange): boolean {
  return (request.headers.accept ?? "").split(",").some((range) => mediaType(range) === JSON_TYPE);
}

/** Without parameters. */
function mediaType(value = ""): string {
  return (value.split(";", 1)[0] ?? "").trim().toLowerCase();
}
