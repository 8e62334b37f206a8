/** Beam search over one prompt: rows that live and die together, each step forked from the best of the last. */
import { type BeamOptions, type BeamState, firstBeams, nextBeams } from "../decoding/index.js";
import type { Budget, Share } from "./budget.js";
import type { CachedSequence } from "./cached-sequence.js";
import type { KvCache } from "./kv-cache.js";
import { type Row, Run } from "./run.js";
import type { CheckedRequest, SampleHooks } from "./sample-request.js";

export class BeamRun extends Run {
  readonly #options: BeamOptions;
  #state: BeamState = firstBeams();
  /** Caches of the live beams, in their order. */
  #sequences: CachedSequence[] = [];
  #begun = false;

  constructor(request: CheckedRequest, hooks: SampleHooks, cache: KvCache, budget: Budget, numBeams: number) {
    super(request, hooks, cache, budget);
    const { lengthPenalty, earlyStopping } = request.params;
    this.#options = {
      numBeams,
      maxTokens: request.maxTokens,
      stopTokens: [...request.stopTokens],
      ...(lengthPenalty === undefined ? {} : { lengthPenalty }),
      ...(earlyStopping === undefined ? {} : { earlyStopping }),
    };
  }

  protected override get first(): Share {
    const { numBeams } = this.#options;
    return { rows: numBeams, pages: (numBeams - 1) * this.ownPages(false) + this.ownPages(true) };
  }

  override get isWaiting(): boolean {
    return !this.#begun;
  }

  override get rows(): readonly Row[] {
    return this.#sequences.map((sequence, i) => ({
      sequence,
      next: this.#state.live[i]!.tokens.at(-1)!, // a beam that goes on has tokens
    }));
  }

  override admit(): void {
    if (this.#begun || !this.budget.reserve(this.first)) return;
    this.#begun = true;
    this.#sequences = [this.prefix.fork()];
    this.prefix.release();
    this.advance([this.promptLogits!]); // set before anything is admitted
  }

  override advance(logits: readonly Float32Array[]): void {
    this.#state = nextBeams(this.#state, logits, this.#options);
    const parents = this.#sequences;
    this.#sequences = this.#state.live.map(({ parent }) => parents[parent]!.fork());
    for (const parent of parents) parent.release();
    if (this.#state.live.length > 0) return;
    const best = this.#state.finished.slice(0, this.request.numSamples);
    this.finish({
      sequences: best.map(({ tokens, logprobs, stopReason }) => ({
        stopReason,
        tokens,
        logprobs,
        rawLogprobs: logprobs,
      })),
    });
  }

  protected override releaseRows(spoilt: boolean): void {
    for (const sequence of this.#sequences) sequence.release(spoilt);
    this.#sequences = [];
    if (this.#begun) this.budget.giveBack(this.first);
  }
}
