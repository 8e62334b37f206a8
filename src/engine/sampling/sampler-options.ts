/** What a sampler is made from. */
import type { ModelSourceOptions, QuantiseOptions } from "../options.js";

/** Text of token ids, as far as they go. Needed for stop strings alone: the engine itself knows no text. */
export type DecodeTokens = (tokens: readonly number[]) => string;

/** Plain data, so that it can be sent to a worker thread. */
export interface SharedSamplerOptions {
  /** PEFT folders by the names under which requests ask for them. */
  readonly adapters?: Readonly<Record<string, string>>;
  /** Sequences decoded together; others wait their turn. @default 64 */
  readonly maxBatch?: number;
  /** Tokens of all running sequences whose keys and values are kept; requests wait when they would not fit. */
  readonly cacheTokens?: number;
  /** Seed of requests that bring none: the n-th of them gets the same tokens in every run. @default 0 */
  readonly seed?: number;
}

/** A sampler of a trainer's current weights. */
export interface TrainerSamplerOptions extends SharedSamplerOptions {
  readonly decode?: DecodeTokens;
}

export interface SamplingEngineOptions extends SharedSamplerOptions {
  readonly model: ModelSourceOptions;
  /** Holds the projections in 4 bits. A GGUF model's Q4_0 weights are taken as they are. */
  readonly quantise?: QuantiseOptions;
  /** Threads of one operator. @default the number of cores */
  readonly threads?: number;
  /** "cpu" takes stock operators even where our kernels work. @default "native" */
  readonly runtime?: "native" | "cpu";
}

export interface SamplerOptions extends SamplingEngineOptions {
  readonly decode?: DecodeTokens;
}
