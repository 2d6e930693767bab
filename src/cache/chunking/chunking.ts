import type { CutRule } from "./cut-rule.ts";
import { FastCdc2020, type FastCdcParameters, fastCdcSizes } from "./fast-cdc-2020.ts";

/** How blobs are cut into chunks, by REAPI enum numbers (`ChunkingFunction.Value`). */
export const CHUNKING_FUNCTIONS = { unknown: 0, fastCdc2020: 1, repMaxCdc: 2 } as const;

export type ChunkingFunctionNumber = (typeof CHUNKING_FUNCTIONS)[keyof typeof CHUNKING_FUNCTIONS];

/** A function with its parameters, which all parties have to share for chunks to be common. */
export interface Chunking {
  readonly function: typeof CHUNKING_FUNCTIONS.fastCdc2020;
  readonly parameters: FastCdcParameters;
}

/** The parameters that the API recommends. Were they options, chunks would not be shared with what was split before. */
export const CHUNKINGS: readonly [Chunking, ...Chunking[]] = [
  { function: CHUNKING_FUNCTIONS.fastCdc2020, parameters: { avgBytes: 512 * 1024, seed: 0 } },
];

export function cutRuleOf({ parameters }: Chunking): CutRule {
  return new FastCdc2020(fastCdcSizes(parameters), parameters.seed);
}

/** A smaller blob is its own and only chunk. */
export function chunkedBytesMin({ parameters }: Chunking): number {
  return fastCdcSizes(parameters).maxBytes;
}
