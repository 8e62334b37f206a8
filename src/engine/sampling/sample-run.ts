/** Independent samples of one prompt: each begins when there is room, and ends by itself. */
import type { Random } from "../../base/index.js";
import type { SampledSequence, StopReason } from "../../protocol/index.js";
import type { DrawToken } from "../decoding/index.js";
import type { Budget, Share } from "./budget.js";
import type { KvCache } from "./kv-cache.js";
import { type Row, Run } from "./run.js";
import type { CheckedRequest, SampleHooks, TokenEvent } from "./sample-request.js";

interface Sample extends Row {
  next: number;
  readonly index: number;
  readonly random: Random;
  readonly tokens: number[];
  readonly logprobs: number[];
  readonly rawLogprobs: number[];
  /** Tokens of prompt and completion where a repetition penalty asks for them. */
  readonly seen: number[];
}

export class SampleRun extends Run {
  readonly #draw: DrawToken;
  readonly #random: Random;
  readonly #finished: (SampledSequence | undefined)[];
  #live: Sample[] = [];
  #started = 0;
  #ended = 0;

  constructor(
    request: CheckedRequest,
    hooks: SampleHooks,
    {
      cache,
      budget,
      draw,
      random,
    }: {
      readonly cache: KvCache;
      readonly budget: Budget;
      readonly draw: DrawToken;
      /** Sample i draws from its fork "sample i": what it draws depends on nothing else. */
      readonly random: Random;
    },
  ) {
    super(request, hooks, cache, budget);
    this.#draw = draw;
    this.#random = random;
    this.#finished = new Array<SampledSequence | undefined>(request.numSamples).fill(undefined);
  }

  protected override get first(): Share {
    return this.#shareOf(0);
  }

  override get isWaiting(): boolean {
    return this.#started < this.request.numSamples;
  }

  override get rows(): readonly Row[] {
    return this.#live;
  }

  override admit(): void {
    const { numSamples, prompt_T, params } = this.request;
    const events: TokenEvent[] = [];
    while (this.#started < numSamples && this.budget.reserve(this.#shareOf(this.#started))) {
      const index = this.#started++;
      const sample: Sample = {
        sequence: this.prefix.fork(),
        next: -1,
        index,
        random: this.#random.fork(`sample ${index}`),
        tokens: [],
        logprobs: [],
        rawLogprobs: [],
        seen: params.repetitionPenalty === 1 ? [] : [...prompt_T],
      };
      this.#live.push(sample);
      this.#take(sample, this.promptLogits!, events); // set before anything is admitted
    }
    // The last fork need not copy a page that nobody else writes.
    if (this.#started === numSamples) this.prefix.release();
    this.#tell(events);
  }

  override advance(logits: readonly Float32Array[]): void {
    const events: TokenEvent[] = [];
    for (const [i, sample] of [...this.#live].entries()) this.#take(sample, logits[i]!, events);
    this.#tell(events);
  }

  /** Ends samples that are wanted no longer. */
  dropStopped(): void {
    const { isStopped } = this.hooks;
    if (isStopped === undefined) return;
    for (const sample of [...this.#live]) if (isStopped(sample.index)) this.#end(sample, "stop");
    this.#tell([]);
  }

  protected override releaseRows(spoilt: boolean): void {
    for (const { sequence, index } of this.#live) {
      sequence.release(spoilt);
      this.budget.giveBack(this.#shareOf(index));
    }
    this.#live = [];
  }

  #shareOf(index: number): Share {
    return { rows: 1, pages: this.ownPages(index === this.request.numSamples - 1) };
  }

  #take(sample: Sample, logits_V: Float32Array, events: TokenEvent[]): void {
    const { params, stopTokens, maxTokens } = this.request;
    const { token, logprob, rawLogprob } = this.#draw(logits_V, params, sample.seen, sample.random);
    sample.next = token;
    sample.tokens.push(token);
    sample.logprobs.push(logprob);
    sample.rawLogprobs.push(rawLogprob);
    if (params.repetitionPenalty !== 1) sample.seen.push(token);
    if (this.hooks.onTokens !== undefined) events.push({ sample: sample.index, token, logprob });
    if (stopTokens.has(token)) this.#end(sample, "stop");
    else if (sample.tokens.length === maxTokens) this.#end(sample, "length");
  }

  #end(sample: Sample, stopReason: StopReason): void {
    const { index, tokens, logprobs, rawLogprobs, sequence } = sample;
    sequence.release();
    this.budget.giveBack(this.#shareOf(index));
    this.#live.splice(this.#live.indexOf(sample), 1);
    this.#finished[index] = { stopReason, tokens, logprobs, rawLogprobs };
    this.#ended++;
  }

  #tell(events: readonly TokenEvent[]): void {
    if (events.length > 0) this.hooks.onTokens?.(events);
    if (this.#ended === this.request.numSamples && !this.isOver)
      this.finish({ sequences: this.#finished as SampledSequence[] }); // all have ended
  }
}
