import type { CutRule } from "./cut-rule.ts";
import { FastCdc2020, type FastCdcParameters, fastCdcSizes } from "./fast-cdc-2020.ts";
import { RepMaxCdc, type RepMaxCdcParameters } from "./rep-max-cdc.ts";

/** How blobs are cut into chunks, by REAPI enum numbers (`ChunkingFunction.Value`). */
export const CHUNKING_FUNCTIONS = { unknown: 0, fastCdc2020: 1, repMaxCdc: 2 } as const;

export type ChunkingFunctionNumber = (typeof CHUNKING_FUNCTIONS)[keyof typeof CHUNKING_FUNCTIONS];

interface FastCdcChunking {
  readonly function: typeof CHUNKING_FUNCTIONS.fastCdc2020;
  readonly parameters: FastCdcParameters;
}

interface RepMaxCdcChunking {
  readonly function: typeof CHUNKING_FUNCTIONS.repMaxCdc;
  readonly parameters: RepMaxCdcParameters;
}

/** A function with its parameters, which all parties have to share for chunks to be common. */
export type Chunking = FastCdcChunking | RepMaxCdcChunking;

const KIB = 1024;

/**
 * What is offered, with the parameters that the API recommends for the one and Bazel takes for the other. Were they
 * options, chunks would not be shared with what was split before.
 */
export const CHUNKINGS = [
  { function: CHUNKING_FUNCTIONS.fastCdc2020, parameters: { avgBytes: 512 * KIB, seed: 0 } },
  { function: CHUNKING_FUNCTIONS.repMaxCdc, parameters: { minBytes: 256 * KIB, horizonBytes: 2048 * KIB } },
] as const satisfies readonly Chunking[];

/** The rule for one content: what it remembers of that is wrong for another. */
export function cutRuleOf(chunking: Chunking): CutRule {
  return chunking.function === CHUNKING_FUNCTIONS.repMaxCdc
    ? new RepMaxCdc(chunking.parameters)
    : new FastCdc2020(fastCdcSizes(chunking.parameters), chunking.parameters.seed);
}

/** A smaller blob is its own and only chunk. */
export function chunkedBytesMin(chunking: Chunking): number {
  return chunking.function === CHUNKING_FUNCTIONS.repMaxCdc
    ? 2 * chunking.parameters.minBytes
    : fastCdcSizes(chunking.parameters).maxBytes;
}
