/** A request for samples as the engine takes it, checked. Token ids only: stop strings are the client's. */
import { UserError } from "../../base/index.js";
import type { SamplingParams } from "../../protocol/index.js";
import { firstForeignId } from "../batch.js";

export interface SampleRequest {
  readonly prompt_T: readonly number[];
  /** `stop` holds token ids alone. */
  readonly params: SamplingParams;
  readonly numSamples: number;
  readonly promptLogprobs: boolean;
  /** Which adapter, by name; null for the base model, or a trainer's current weights. */
  readonly adapter: string | null;
}

/** A token as it was drawn. */
export interface TokenEvent {
  readonly sample: number;
  readonly token: number;
  readonly logprob: number;
}

/** How a caller watches and ends a running request; the engine asks between steps. */
export interface SampleHooks {
  readonly isCancelled?: () => boolean;
  /** Whether a sample is wanted no longer: it ends as if it had met a stop token. */
  readonly isStopped?: (sample: number) => boolean;
  /** The tokens of one step. */
  readonly onTokens?: (events: readonly TokenEvent[]) => void;
}

export interface RequestLimits {
  readonly vocabularySize: number;
  readonly maxPositions: number;
  readonly adapters: readonly string[];
}

/** A request whose every number has been checked. */
export interface CheckedRequest extends SampleRequest {
  readonly maxTokens: number;
  readonly stopTokens: ReadonlySet<number>;
}

/** @throws UserError naming what was found and what was expected */
export function checkRequest(request: SampleRequest, limits: RequestLimits): CheckedRequest {
  const { prompt_T, params, numSamples, adapter } = request;
  const { vocabularySize, maxPositions } = limits;
  const refuse = (what: string): UserError => new UserError(`Cannot sample: ${what}`);
  if (prompt_T.length === 0) throw refuse("the prompt has 0 tokens, expected at least 1");
  const at = firstForeignId(prompt_T, vocabularySize);
  if (at >= 0) {
    throw refuse(
      `the prompt has token ${prompt_T[at]} at position ${at}, expected an id below the vocabulary size ${vocabularySize}`,
    );
  }
  if (!Number.isInteger(numSamples) || numSamples < 1)
    throw refuse(`numSamples is ${numSamples}, expected a positive integer`);
  const { numBeams } = params;
  if (numBeams !== undefined && numSamples > numBeams)
    throw refuse(
      `numSamples is ${numSamples}, expected at most numBeams ${numBeams}: samples are the best beams`,
    );
  if (adapter !== null && !limits.adapters.includes(adapter)) {
    const known =
      limits.adapters.map((name) => `"${name}"`).join(", ") || "none: this sampler has no adapters";
    throw refuse(`adapter "${adapter}" is unknown, expected ${known}`);
  }
  const room = maxPositions - prompt_T.length;
  if (room < 1) {
    throw refuse(
      `the prompt has ${prompt_T.length} tokens, expected at most ${maxPositions - 1}: the model has ${maxPositions} positions`,
    );
  }
  const { maxTokens = room } = params;
  if (maxTokens > room) {
    throw refuse(
      `the prompt's ${prompt_T.length} tokens and maxTokens ${maxTokens} make ${prompt_T.length + maxTokens}, expected at most the model's ${maxPositions} positions. Lower maxTokens to ${room}, or leave it out`,
    );
  }
  return { ...request, maxTokens, stopTokens: new Set(stopTokensOf(params.stop, refuse, vocabularySize)) };
}

function stopTokensOf(
  stop: SamplingParams["stop"],
  refuse: (what: string) => UserError,
  vocabularySize: number,
): number[] {
  if (stop === undefined) return [];
  const ids = typeof stop === "string" ? [stop] : stop;
  return ids.map((id) => {
    if (typeof id === "string")
      throw refuse(`stop string ${JSON.stringify(id)} reached the engine, expected the client to handle it`);
    if (firstForeignId([id], vocabularySize) === 0)
      throw refuse(`stop token ${id} is unknown, expected an id below the vocabulary size ${vocabularySize}`);
    return id;
  });
}
