/** A sampling client with all that stays the same from one completion to the next. */
import { RolloutError } from "../base/index.js";
import {
  type ModelInput,
  type SampledSequence,
  type SamplingClient,
  SamplingParams,
} from "../protocol/index.js";
import type { PromptFormat } from "./prompt-format.js";

export interface Policy {
  readonly format: PromptFormat;
  sample(
    prompt: ModelInput,
    options: { readonly seed: number; readonly numSamples: number; readonly signal: AbortSignal },
  ): Promise<readonly SampledSequence[]>;
}

export interface PolicyOptions {
  readonly client: SamplingClient;
  readonly format: PromptFormat;
  /** `seed` and `stop` come from the rollouts and the format. */
  readonly params: Partial<Omit<SamplingParams, "seed" | "stop">>;
  /** Which of the client's adapters; left out, its base model or the trainer's current weights. */
  readonly adapter?: string;
}

export function createPolicy({ client, format, params, adapter }: PolicyOptions): Policy {
  const parsed = SamplingParams.parse({ ...params, stop: [...format.stop] });
  return {
    format,
    async sample(prompt, { seed, numSamples, signal }) {
      const { sequences } = await client.sample(
        prompt,
        { ...parsed, seed },
        { numSamples, signal, ...(adapter === undefined ? {} : { adapter }) },
      );
      if (sequences.length === numSamples) return sequences;
      throw new RolloutError(
        "policy",
        `Cannot use completions: the sampler answered ${sequences.length}, expected ${numSamples}`,
      );
    },
  };
}
