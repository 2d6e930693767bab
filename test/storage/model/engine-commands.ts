import fc from "fast-check";
import type { AtRest, Encoding } from "../../../src/cache/encoding.ts";
import type { DiskFault } from "../../support/simulated-disk.ts";
import { ACTION_COUNT, BLOBS } from "./model-contents.ts";

/** What an uploader does wrong, if anything. */
export type UploadFlaw = "none" | "wrong hash" | "too short" | "too long" | "discard";

export interface BlobUpload {
  readonly kind: "blob";
  readonly blob: number;
  /** In how many writes; 0: by `put`. */
  readonly pieces: number;
  readonly encoding: Encoding;
  readonly flaw: UploadFlaw;
}

export interface ActionUpdate {
  readonly kind: "action";
  readonly action: number;
  /** 0: by `put`, else staged without its size being known. */
  readonly pieces: number;
}

export type Upload = BlobUpload | ActionUpdate;
export type Target = { readonly kind: "blob" | "action"; readonly index: number };
/** How the uploads that run together are met by the end of the process, after some turns of the scheduler. */
export type Interruption = { readonly kind: "power cut" | "kill" | "shard death"; readonly afterSteps: number };

export interface Restart {
  readonly kind: "restart";
  readonly how: "clean" | "kill" | "power cut";
  /** Undefined: the same as before. */
  readonly shardCount: number | undefined;
  readonly checkpoint: "keep" | "delete" | "damage" | "swap" | "put back an old one";
  /** A byte of the segments that rots while nobody runs, at this share of them all. */
  readonly damageAt: number | undefined;
  readonly faults: readonly DiskFault[];
}

export type EngineCommand =
  | { readonly kind: "upload"; readonly uploads: readonly Upload[]; readonly interruption: Interruption | undefined }
  | { readonly kind: "hold"; readonly upload: BlobUpload }
  | { readonly kind: "finish held" }
  | { readonly kind: "fill"; readonly from: number; readonly count: number }
  | { readonly kind: "read"; readonly target: Target; readonly range: readonly [from: number, to: number] | undefined }
  | { readonly kind: "find"; readonly targets: readonly Target[]; readonly renew: boolean }
  | { readonly kind: "advance"; readonly seconds: number; readonly wallJumpSeconds: number }
  | { readonly kind: "housekeeping"; readonly job: "checkpoint" | "sync" | "scrub" }
  | { readonly kind: "fault"; readonly fault: DiskFault }
  | { readonly kind: "space"; readonly leftBytes: number | undefined }
  | { readonly kind: "shard death"; readonly shard: number }
  | Restart;

export interface EngineSetup {
  readonly shardCount: number;
  readonly durability: "commit" | "relaxed";
  readonly atRest: AtRest;
  readonly maxBytes: number;
  readonly segmentBytesMax: number;
  readonly minLeaseSeconds: number;
  readonly entryCountMax: number;
  readonly slabBlocks: number;
  /** Keeps accounts, and favours those who have little. */
  readonly fairShare: boolean;
  /** Share of reads and writes that are short. */
  readonly shortShare: number;
  /** Share of what was not synced that a power cut spares. */
  readonly survival: number;
}

const KIB = 1024;

export const setups: fc.Arbitrary<EngineSetup> = fc.record({
  shardCount: fc.integer({ min: 1, max: 3 }),
  durability: fc.constantFrom("commit", "commit", "commit", "commit", "commit", "relaxed"),
  atRest: fc.constantFrom("as-uploaded", "as-uploaded", "zstd", "identity"),
  maxBytes: fc.constantFrom(1024 * KIB, 1536 * KIB, 4096 * KIB),
  segmentBytesMax: fc.constantFrom(24 * KIB, 64 * KIB),
  minLeaseSeconds: fc.constantFrom(0, 60, 3600),
  entryCountMax: fc.constantFrom(90, 400, 400),
  slabBlocks: fc.constantFrom(1, 4, 16),
  fairShare: fc.boolean(),
  shortShare: fc.constantFrom(0, 0, 0.3),
  survival: fc.constantFrom(0, 0.5, 0.5, 0.9, 1),
});

const shares = fc.nat({ max: 9999 }).map((tenThousandths) => tenThousandths / 10_000);
const blobs = fc.nat({ max: BLOBS.length - 1 });
const actions = fc.nat({ max: ACTION_COUNT - 1 });
const pieces = fc.constantFrom(0, 0, 1, 2, 5);
const blobUploads: fc.Arbitrary<BlobUpload> = fc.record({
  kind: fc.constant("blob"),
  blob: blobs,
  pieces,
  encoding: fc.constantFrom("identity", "identity", "zstd"),
  flaw: fc.oneof(
    { weight: 8, arbitrary: fc.constant<UploadFlaw>("none") },
    { weight: 1, arbitrary: fc.constantFrom<UploadFlaw>("wrong hash", "too short", "too long", "discard") },
  ),
});
const uploads: fc.Arbitrary<Upload> = fc.oneof(
  { weight: 3, arbitrary: blobUploads },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("action"), action: actions, pieces }) },
);
const targets: fc.Arbitrary<Target> = fc.oneof(
  fc.record({ kind: fc.constant("blob"), index: blobs }),
  fc.record({ kind: fc.constant("action"), index: actions }),
);

const failures: fc.Arbitrary<DiskFault> = fc.record({
  kind: fc.constantFrom("syncData", "syncData", "write", "read", "syncDirectory", "open", "rename", "truncate"),
  countdown: fc.integer({ min: 1, max: 6 }),
  effect: fc.constantFrom("EIO", "EIO", "ENOSPC", "EMFILE"),
});
const ends: fc.Arbitrary<DiskFault> = fc.record({
  kind: fc.constantFrom("any", "any", "write", "syncData", "rename", "remove", "truncate", "syncDirectory"),
  countdown: fc.integer({ min: 1, max: 12 }),
  effect: fc.constantFrom("power cut", "power cut", "kill"),
});
const faults = fc.oneof({ weight: 2, arbitrary: failures }, { weight: 3, arbitrary: ends });

const restarts: fc.Arbitrary<Restart> = fc.record({
  kind: fc.constant("restart"),
  how: fc.constantFrom("clean", "kill", "power cut", "power cut"),
  shardCount: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined, freq: 3 }),
  checkpoint: fc.oneof(
    { weight: 5, arbitrary: fc.constant<Restart["checkpoint"]>("keep") },
    {
      weight: 2,
      arbitrary: fc.constantFrom<Restart["checkpoint"]>("delete", "damage", "swap", "put back an old one"),
    },
  ),
  damageAt: fc.option(shares, { nil: undefined, freq: 5 }),
  faults: fc.oneof(
    { weight: 4, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(faults, { maxLength: 2 }) },
  ),
});

const interruptions: fc.Arbitrary<Interruption> = fc.record({
  kind: fc.constantFrom("power cut", "kill", "shard death"),
  afterSteps: fc.integer({ min: 1, max: 40 }),
});

const uploadTogether: fc.Arbitrary<EngineCommand> = fc.record({
  kind: fc.constant("upload"),
  uploads: fc.array(uploads, { minLength: 1, maxLength: 8, size: "max" }),
  interruption: fc.option(interruptions, { nil: undefined, freq: 7 }),
});

const weighted: { weight: number; arbitrary: fc.Arbitrary<EngineCommand> }[] = [
  { weight: 10, arbitrary: uploadTogether },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("hold"), upload: blobUploads }) },
  { weight: 1, arbitrary: fc.constant({ kind: "finish held" }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("fill"), from: blobs, count: fc.integer({ min: 5, max: 40 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("read"),
      target: targets,
      range: fc.option(fc.tuple(shares, shares), {
        nil: undefined,
        freq: 2,
      }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("find"),
      targets: fc.array(targets, { minLength: 1, maxLength: 20, size: "max" }),
      renew: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("advance"),
      seconds: fc.constantFrom(1, 50, 70, 5000),
      wallJumpSeconds: fc.constantFrom(0, 0, 315_000_000, -315_000_000),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("housekeeping"), job: fc.constantFrom("checkpoint", "sync", "scrub") }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("fault"), fault: faults }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("space"),
      leftBytes: fc.option(fc.integer({ min: 0, max: 200 * KIB }), { nil: undefined, freq: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("shard death"), shard: fc.nat({ max: 2 }) }) },
  { weight: 4, arbitrary: restarts },
];

export const commandLists = fc.array(fc.oneof(...weighted), { minLength: 4, maxLength: 24, size: "max" });

/** Uploads, failing syncs, and ends that show what was acknowledged: nothing else. */
export const failingSyncLists = fc.array(
  fc.oneof<{ weight: number; arbitrary: fc.Arbitrary<EngineCommand> }[]>(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant("fault"),
        fault: fc.record({
          kind: fc.constantFrom("syncData", "syncData", "syncData", "syncDirectory"),
          countdown: fc.integer({ min: 1, max: 3 }),
          effect: fc.constant("EIO"),
        }),
      }),
    },
    { weight: 6, arbitrary: uploadTogether },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("fill"), from: blobs, count: fc.integer({ min: 5, max: 30 }) }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("housekeeping"), job: fc.constant("checkpoint") }) },
    { weight: 2, arbitrary: restarts },
  ),
  { minLength: 10, maxLength: 30, size: "max" },
);
