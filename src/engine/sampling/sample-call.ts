/** One `sample` call from both ends of a worker: stop strings are matched on the caller's side, where text is. */
import { UserError } from "../../base/index.js";
import {
  type ModelInput,
  type SampleOptions,
  type SampleOutput,
  SamplingParams,
  tokensOf,
} from "../../protocol/index.js";
import type { ConnectionCallOptions } from "../connection.js";
import { createStopStrings } from "../decoding/index.js";
import type { CallContext } from "../serve.js";
import type { SampleRequest, TokenEvent } from "./sample-request.js";
import type { DecodeTokens } from "./sampler-options.js";
import type { SamplingEngine } from "./sampling-engine.js";

type Call = (given: readonly unknown[], options: ConnectionCallOptions) => Promise<SampleOutput>;
type Sample = (prompt: ModelInput, params: SamplingParams, options?: SampleOptions) => Promise<SampleOutput>;

/** `SamplingClient.sample` over a worker that answers with `answerSample`. */
export function createSampleCall(call: Call, decode: DecodeTokens | undefined): Sample {
  return async (prompt, given, { signal, numSamples = 1, promptLogprobs = false, adapter, onToken } = {}) => {
    const params = checkedParams(given);
    const { strings, ids } = stopsOf(params.stop);
    if (strings.length > 0 && decode === undefined) {
      throw new UserError(
        `Cannot sample with stop string ${JSON.stringify(strings[0])}: the client was made without decode, expected a function from tokens to text. Give createSamplingClient() decode, or stop at token ids`,
      );
    }
    if (strings.includes(""))
      throw new UserError("Cannot sample: a stop string is empty, expected text. Leave it out");
    if (strings.length > 0 && params.numBeams !== undefined) {
      throw new UserError(
        `Cannot sample with stop string ${JSON.stringify(strings[0])} and numBeams ${params.numBeams}: beams are compared before there is text, expected one of the two. Stop beams at token ids`,
      );
    }
    const request: SampleRequest = {
      prompt_T: tokensOf(prompt),
      params: { ...params, stop: ids },
      numSamples,
      promptLogprobs,
      adapter: adapter ?? null,
    };
    const count = Number.isInteger(numSamples) && numSamples > 0 ? numSamples : 0;
    const control = new SharedArrayBuffer(4 * (1 + count));
    const stopped = new Int32Array(control);
    const counts = new Array<number>(count).fill(0);
    const watchers =
      strings.length === 0 || decode === undefined
        ? []
        : Array.from({ length: count }, () => createStopStrings(strings, decode));
    const kept = new Map<number, number>();
    const watch = ({ sample, token, logprob }: TokenEvent): void => {
      if (kept.has(sample)) return;
      counts[sample]!++;
      onToken?.({ sample, token, logprob });
      if (watchers[sample]?.push(token) === undefined) return;
      kept.set(sample, counts[sample]!);
      Atomics.store(stopped, 1 + sample, 1);
    };
    const streams = onToken !== undefined || strings.length > 0;
    const output = await call([request, streams], {
      signal,
      control,
      ...(streams ? { onEvent: (events: readonly TokenEvent[]) => events.forEach(watch) } : {}),
    });
    if (kept.size === 0) return output;
    // The engine may have drawn a few tokens more before it saw the flag.
    const sequences = output.sequences.map((sequence, sample) => {
      const length = kept.get(sample);
      if (length === undefined) return sequence;
      const { logprobs, rawLogprobs } = sequence;
      return {
        stopReason: "stop" as const,
        tokens: sequence.tokens.slice(0, length),
        ...(logprobs === undefined ? {} : { logprobs: logprobs.slice(0, length) }),
        ...(rawLogprobs === undefined ? {} : { rawLogprobs: rawLogprobs.slice(0, length) }),
      };
    });
    return { ...output, sequences };
  };
}

/** The worker's end. */
export function answerSample(
  engine: SamplingEngine,
  given: readonly unknown[],
  { isCancelled, flag, tell }: CallContext,
): Promise<SampleOutput> {
  const [request, streams] = given as [SampleRequest, boolean]; // both ends are built from one source
  return engine.sample(request, {
    isCancelled,
    isStopped: (sample) => flag(1 + sample),
    ...(streams ? { onTokens: tell } : {}),
  });
}

function checkedParams(params: SamplingParams): SamplingParams {
  const parsed = SamplingParams.safeParse(params);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new UserError(`Cannot sample: ${path.join(".") || "parameters"}: ${message}`);
}

function stopsOf(stop: SamplingParams["stop"]): {
  readonly strings: readonly string[];
  readonly ids: number[];
} {
  const all = stop === undefined ? [] : typeof stop === "string" ? [stop] : stop;
  return {
    strings: all.filter((entry) => typeof entry === "string"),
    ids: all.filter((entry) => typeof entry === "number"),
  };
}
