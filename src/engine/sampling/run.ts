/** A request on its way: its prompt in the cache, the rows it decodes, its result. What a row draws is its kind's matter. */

import { CACHE_PAGE } from "../../graph/index.js";
import type { SampleOutput } from "../../protocol/index.js";
import type { Budget, Share } from "./budget.js";
import { CachedSequence } from "./cached-sequence.js";
import { type KvCache, pagesFor } from "./kv-cache.js";
import type { CheckedRequest, SampleHooks } from "./sample-request.js";

/** A sequence that goes on with `next`, whose logits the step after wants. */
export interface Row {
  readonly sequence: CachedSequence;
  readonly next: number;
}

export abstract class Run {
  readonly request: CheckedRequest;
  readonly hooks: SampleHooks;
  /** The prompt's cache, from which rows fork. */
  readonly prefix: CachedSequence;
  readonly result: Promise<SampleOutput>;
  promptLogprobs: readonly (number | null)[] | undefined;
  protected readonly budget: Budget;
  /** Logits [V] after the prompt: what first tokens are drawn from. */
  protected promptLogits: Float32Array | undefined;
  #settle!: { readonly resolve: (output: SampleOutput) => void; readonly reject: (error: unknown) => void };
  #isOver = false;
  /** Of the budget: the prompt's pages and, until it has run, the first rows'. */
  #held: Share[] = [];

  constructor(request: CheckedRequest, hooks: SampleHooks, cache: KvCache, budget: Budget) {
    this.request = request;
    this.hooks = hooks;
    this.budget = budget;
    this.prefix = CachedSequence.empty(cache);
    this.result = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Whether rows of it have yet to begin. */
  abstract readonly isWaiting: boolean;
  /** Rows decoded in the next step. */
  abstract readonly rows: readonly Row[];
  /** Begins what waits and fits the budget; called once the prompt has run, and between steps. */
  abstract admit(): void;
  /** Takes the logits [V] after each of `rows`. */
  abstract advance(logits: readonly Float32Array[]): void;
  /** The least that can begin at once. */
  protected abstract get first(): Share;
  protected abstract releaseRows(spoilt: boolean): void;

  /** Pages that one row may take beside the prompt's. The last to fork has the prompt's unfinished page for itself. */
  protected ownPages(isLast: boolean): number {
    const { prompt_T, maxTokens } = this.request;
    const shared = isLast ? this.#promptPages : Math.floor(prompt_T.length / CACHE_PAGE);
    return pagesFor(prompt_T.length + maxTokens - 1) - shared;
  }

  /** Pages without which the request cannot run even when it is alone. */
  get leastPages(): number {
    return this.#promptPages + this.first.pages;
  }

  /** Whether the prompt may run now: there is room for it and for the first rows, which is then kept. */
  reservePrompt(): boolean {
    if (!this.budget.reserve({ rows: 0, pages: this.#promptPages })) return false;
    if (this.budget.reserve(this.first)) {
      this.#held = [{ rows: 0, pages: this.#promptPages }, this.first];
      return true;
    }
    this.budget.giveBack({ rows: 0, pages: this.#promptPages });
    return false;
  }

  /** The prompt is in the cache. */
  begin(logits_V: Float32Array, logprobs: readonly number[] | undefined): void {
    this.promptLogits = logits_V.slice();
    if (this.request.promptLogprobs) this.promptLogprobs = [null, ...(logprobs ?? [])];
    this.budget.giveBack(this.#held.pop()!); // for the rows that begin now
    this.admit();
  }

  finish(output: SampleOutput): void {
    this.#end(false);
    this.#settle.resolve(
      this.promptLogprobs === undefined ? output : { ...output, promptLogprobs: this.promptLogprobs },
    );
  }

  /** @param spoilt what it put into the cache may be no numbers */
  fail(error: unknown, spoilt = false): void {
    this.#end(spoilt);
    this.#settle.reject(error);
  }

  #end(spoilt: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.releaseRows(spoilt);
    this.prefix.release(spoilt);
    for (const share of this.#held) this.budget.giveBack(share);
    this.#held = [];
  }

  get #promptPages(): number {
    return pagesFor(this.request.prompt_T.length);
  }
}
