/** The tokens of an episode as they come, with who wrote which and how likely the sampled ones were. */
import { RolloutError } from "../base/index.js";
import type { SampledSequence } from "../protocol/index.js";
import type { RenderedChat, Span } from "../text/index.js";

export interface Ledger {
  readonly tokens_T: number[];
  readonly spans: Span[];
  readonly logprobs_T: number[];
  readonly rawLogprobs_T: number[];
  /** Adds what the format wrote. */
  addRendered(rendered: RenderedChat): void;
  /** Adds what the policy said. @throws RolloutError when its numbers do not fit its tokens */
  addSampled(sequence: SampledSequence): void;
}

export function createLedger(): Ledger {
  const tokens_T: number[] = [];
  const spans: Span[] = [];
  const logprobs_T: number[] = [];
  const rawLogprobs_T: number[] = [];

  const addSpan = (source: Span["source"], length: number): void => {
    if (length === 0) return;
    const start = tokens_T.length - length;
    const last = spans.at(-1);
    // Completions stay apart even where nothing stands between them: each is a turn.
    if (last?.source === source && source !== "sampled") {
      spans[spans.length - 1] = { ...last, end: tokens_T.length };
    } else spans.push({ source, start, end: tokens_T.length });
  };

  return {
    tokens_T,
    spans,
    logprobs_T,
    rawLogprobs_T,
    addRendered(rendered) {
      let done = 0;
      for (const { source, start, end } of rendered.spans) {
        if (start !== done) throw new Error(`internal: spans leave a gap at token ${done}`);
        done = end;
        for (let t = start; t < end; t++) {
          tokens_T.push(rendered.tokens_T[t]!);
          logprobs_T.push(0);
          rawLogprobs_T.push(0);
        }
        addSpan(source, end - start);
      }
      if (done !== rendered.tokens_T.length)
        throw new Error(`internal: spans end at token ${done} of ${rendered.tokens_T.length}`);
    },
    addSampled(sequence) {
      const { tokens, logprobs, rawLogprobs } = sequence;
      for (const [name, numbers] of Object.entries({ logprobs, rawLogprobs })) {
        if (numbers?.length === tokens.length) continue;
        throw new RolloutError(
          "policy",
          `Cannot use completion: it has ${tokens.length} tokens and ${numbers?.length ?? "no"} ${name}, expected one per token`,
        );
      }
      if (tokens.length === 0) {
        throw new RolloutError("policy", "Cannot use completion: it has no tokens, expected at least one");
      }
      tokens_T.push(...tokens);
      logprobs_T.push(...logprobs!);
      rawLogprobs_T.push(...rawLogprobs!);
      addSpan("sampled", tokens.length);
    },
  };
}
