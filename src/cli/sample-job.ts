/** One request of `hone sample`: from a prompt's tokens to completions, their text and their records. */
import { createTextStream, type EmbeddedSamplingClient } from "../engine/index.js";
import { modelInputFromTokens, type SampledSequence } from "../protocol/index.js";
import type { ChatRenderer, TextTokenizer } from "../text/index.js";
import { formatTable, type Output } from "./output.js";
import { type SampleCommandOptions, samplingParamsOf, USUAL_MAX_TOKENS } from "./sample-options.js";
import type { GivenPrompt } from "./sample-prompts.js";

/** What the parts of the command share. */
export interface SampleJob {
  readonly options: SampleCommandOptions;
  readonly output: Output;
  readonly tokenizer: TextTokenizer;
  readonly renderer: () => ChatRenderer;
  readonly client: EmbeddedSamplingClient;
  /** Tokens that end a completion besides the user's stop strings. */
  readonly stopTokens: readonly number[];
  /** Adds a line to the output file, where there is one. */
  readonly write: (record: Readonly<Record<string, unknown>>) => void;
}

export interface SampleJobRequest {
  readonly given: GivenPrompt;
  readonly tokens_T: readonly number[];
  readonly adapter: string | undefined;
  readonly seed: number;
}

/** A completion, its text, and its place among those of its prompt. */
export interface Completion {
  readonly sequence: SampledSequence;
  readonly text: string;
  readonly index: number;
}

/** Decodes for people: without the tokens that only programs read. */
export const decodeText =
  (tokenizer: TextTokenizer) =>
  (tokens: readonly number[]): string =>
    tokenizer.decode(tokens, { skipSpecialTokens: true });

/** Runs a request. `onText` gets the text as it grows; it is for requests of one sample. */
export async function sampleRequest(
  { options, client, stopTokens, tokenizer }: SampleJob,
  { tokens_T, adapter, seed }: SampleJobRequest,
  { signal, onText }: { readonly signal: AbortSignal; readonly onText?: (text: string) => void },
): Promise<Completion[]> {
  const room = Math.max(1, client.info.maxPositions - tokens_T.length);
  const maxTokens = options.maxTokens ?? Math.min(USUAL_MAX_TOKENS, room);
  const params = samplingParamsOf(options, { stopTokens, seed, maxTokens });
  const stream = createTextStream(decodeText(tokenizer), tokens_T);
  const { sequences } = await client.sample(modelInputFromTokens([...tokens_T]), params, {
    numSamples: options.n,
    signal,
    ...(adapter === undefined ? {} : { adapter }),
    ...(onText === undefined ? {} : { onToken: ({ token }) => onText(stream.push(token)) }),
  });
  onText?.(stream.rest());
  return sequences.map((sequence, index) => ({
    sequence,
    text: completionText(tokenizer, tokens_T, sequence.tokens),
    index,
  }));
}

/** The text that a completion adds to its prompt's. */
function completionText(
  tokenizer: TextTokenizer,
  prompt_T: readonly number[],
  tokens_T: readonly number[],
): string {
  const stream = createTextStream(decodeText(tokenizer), prompt_T);
  return tokens_T.map((token) => stream.push(token)).join("") + stream.rest();
}

/** Tells a program about a completion: a record on standard output with `--json`, a line of the output file. */
export function recordCompletion(
  { options, output, write }: SampleJob,
  { given, adapter }: Pick<SampleJobRequest, "given" | "adapter">,
  { sequence, text, index }: Completion,
): void {
  const { tokens, stopReason, logprobs, rawLogprobs } = sequence;
  const record = {
    ...(typeof given.prompt === "string" ? { prompt: given.prompt } : { messages: given.prompt }),
    ...(given.line === undefined ? {} : { line: given.line }),
    ...(adapter === undefined ? {} : { adapter }),
    sample: index,
    text,
    tokens,
    stopReason,
    ...(options.logprobs ? { logprobs, rawLogprobs } : {}),
  };
  output.record("sample", record);
  write(record);
}

/** A line per token, for people. */
export function logprobTable(
  tokenizer: TextTokenizer,
  { tokens, logprobs, rawLogprobs }: SampledSequence,
): string {
  const rows = tokens.map((token, t) => [
    String(token),
    JSON.stringify(tokenizer.decode([token])),
    logprobs?.[t]?.toFixed(4) ?? "",
    rawLogprobs?.[t]?.toFixed(4) ?? "",
  ]);
  return formatTable(["token", "text", "logprob", "raw logprob"], rows);
}
