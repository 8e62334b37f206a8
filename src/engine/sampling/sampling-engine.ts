/**
 * Draws completions from a model, on the calling thread. Requests join and leave the running batch between steps; what one
 * draws does not depend on which others run.
 */
import { CancelledError, Random, UserError } from "../../base/index.js";
import { CACHE_PAGE } from "../../graph/index.js";
import type { SampleOutput } from "../../protocol/index.js";
import { createDrawToken, type DrawToken } from "../decoding/index.js";
import { BeamRun } from "./beam-run.js";
import { Budget } from "./budget.js";
import { cacheBytesPerToken, KvCache, pagesFor } from "./kv-cache.js";
import { ModelRunner, type SamplingModel } from "./model-runner.js";
import type { Row, Run } from "./run.js";
import { type CheckedRequest, checkRequest, type SampleHooks, type SampleRequest } from "./sample-request.js";
import { SampleRun } from "./sample-run.js";
import type { SharedSamplerOptions } from "./sampler-options.js";

/** Prompts are computed together up to this many tokens. */
const PROMPT_TOKENS = 4096;
/** Messages, such as new requests, are let in this often, and after every step that takes longer. */
const TURN_MS = 4;
/** Of memory for keys and values, unless the options say how much. It is taken from the system as it is used. */
const CACHE_BYTES = 2 ** 30;

export class SamplingEngine {
  readonly #model: SamplingModel;
  readonly #cache: KvCache;
  readonly #budget: Budget;
  readonly #runner: ModelRunner;
  readonly #random: Random;
  readonly #draw: DrawToken;
  readonly #maxBatch: number;
  readonly #cacheTokens: number;
  /** In the order in which they came. */
  #waiting: Run[] = [];
  #running: Run[] = [];
  #isAwake = false;
  #requests = 0;

  /** @throws UserError for options out of range */
  constructor(model: SamplingModel, options: SharedSamplerOptions = {}) {
    const { config } = model.spec;
    const { maxBatch = 64, seed = 0 } = options;
    const affordable = Math.floor(CACHE_BYTES / cacheBytesPerToken(config));
    // A page more: samples of one prompt each copy its last, unfinished page.
    const enough =
      Math.max(config.maxPositions, Math.min(maxBatch * config.maxPositions, affordable)) + CACHE_PAGE;
    const { cacheTokens = enough } = options;
    for (const [key, value] of Object.entries({ maxBatch, cacheTokens })) {
      if (!Number.isInteger(value) || value < 1)
        throw new UserError(`Cannot create sampler with ${key} ${value}: expected a positive integer`);
    }
    this.#model = model;
    this.#maxBatch = maxBatch;
    this.#cacheTokens = cacheTokens;
    this.#cache = new KvCache(config, pagesFor(cacheTokens));
    this.#budget = new Budget({ rows: maxBatch, pages: pagesFor(cacheTokens) });
    this.#runner = new ModelRunner(model, this.#cache);
    this.#random = new Random(seed);
    this.#draw = createDrawToken(config.vocabularySize);
  }

  /** Tokens of cache that nothing occupies. */
  get freeCacheTokens(): number {
    return this.#cache.pool.free * CACHE_PAGE;
  }

  /** @throws UserError for a request that is wrong or can never fit; CancelledError when the hooks say so */
  async sample(request: SampleRequest, hooks: SampleHooks = {}): Promise<SampleOutput> {
    const { vocabularySize, maxPositions } = this.#model.spec.config;
    const adapters = [...this.#model.adapters.keys()];
    const checked = checkRequest(request, { vocabularySize, maxPositions, adapters });
    const run = this.#runOf(checked, hooks);
    if (run.leastPages > this.#cache.pool.size) {
      throw new UserError(
        `Cannot sample: a prompt of ${checked.prompt_T.length} tokens and ${checked.maxTokens} new ones need ${run.leastPages * CACHE_PAGE} tokens of cache, expected at most cacheTokens ${this.#cacheTokens}. Lower maxTokens, or raise cacheTokens`,
      );
    }
    // Not when the last run has ended: a trainer's step comes after that, and before this.
    if ([...this.#waiting, ...this.#running].every(({ isOver }) => isOver)) this.#runner.rest();
    this.#waiting.push(run);
    if (!this.#isAwake) void this.#work();
    return run.result;
  }

  #runOf(request: CheckedRequest, hooks: SampleHooks): Run {
    const { seed, numBeams } = request.params;
    if (numBeams !== undefined) {
      if (numBeams > this.#maxBatch) {
        throw new UserError(
          `Cannot sample: numBeams is ${numBeams}, expected at most maxBatch ${this.#maxBatch}, for beams are decoded together. Raise maxBatch`,
        );
      }
      return new BeamRun(request, hooks, this.#cache, this.#budget, numBeams);
    }
    const random = seed === undefined ? this.#random.fork(`request ${this.#requests++}`) : new Random(seed);
    return new SampleRun(request, hooks, {
      cache: this.#cache,
      budget: this.#budget,
      draw: this.#draw,
      random,
    });
  }

  async close(): Promise<void> {
    const error = new Error("Cannot sample: the sampler was closed");
    for (const run of [...this.#waiting, ...this.#running]) run.fail(error);
    this.#waiting = [];
    this.#running = [];
    await this.#runner.close();
  }

  /** Steps until nothing is left to do. Errors go to the requests they concern; this never throws. */
  async #work(): Promise<void> {
    this.#isAwake = true;
    // Requests made in one go are to begin together.
    await nextTurn();
    let lastTurn = performance.now();
    while (this.#waiting.length + this.#running.length > 0) {
      this.#heedHooks();
      for (const run of this.#running) guarded(run, () => run.admit());
      await this.#runPrompts();
      this.#forgetOver();
      await this.#decode();
      this.#forgetOver();
      // A turn of the event loop costs a few percent of a small model's step.
      if (performance.now() - lastTurn < TURN_MS && this.#running.length > 0) continue;
      await nextTurn();
      lastTurn = performance.now();
    }
    this.#isAwake = false;
  }

  #heedHooks(): void {
    for (const run of [...this.#waiting, ...this.#running]) {
      if (run.hooks.isCancelled?.()) run.fail(new CancelledError("Cancelled while sampling"));
      else if (run instanceof SampleRun) run.dropStopped();
    }
    this.#forgetOver();
  }

  #forgetOver(): void {
    const goesOn = (run: Run): boolean => !run.isOver;
    this.#waiting = this.#waiting.filter(goesOn);
    this.#running = this.#running.filter(goesOn);
  }

  /** Lets waiting requests in, first come first, as far as there is room, and computes their prompts. */
  async #runPrompts(): Promise<void> {
    // First come, first served: nobody overtakes a request that has yet to begin some of its samples.
    if (this.#running.some((run) => run.isWaiting)) return;
    const admitted: Run[] = [];
    let tokens = 0;
    for (const run of this.#waiting) {
      const { length } = run.request.prompt_T;
      if (admitted.length > 0 && tokens + length > PROMPT_TOKENS) break;
      if (!run.reservePrompt()) break;
      tokens += length;
      admitted.push(run);
    }
    this.#waiting = this.#waiting.slice(admitted.length);
    this.#running.push(...admitted);
    for (const [adapter, runs] of byAdapter(admitted, (run) => run)) {
      await this.#step(runs, async () => {
        const { logits, promptLogprobs } = await this.#runner.run(
          "prompts",
          adapter,
          runs.map(({ prefix, request: { prompt_T, promptLogprobs: scored } }) => ({
            sequence: prefix,
            tokens_T: prompt_T,
            scored,
          })),
        );
        const scores = promptLogprobs[Symbol.iterator]();
        for (const [i, run] of runs.entries()) {
          const scored = run.request.promptLogprobs ? scores.next().value : undefined;
          guarded(run, () => run.begin(logits[i]!, scored));
        }
      });
    }
  }

  async #decode(): Promise<void> {
    const rows = this.#running.flatMap((run) => run.rows.map((row): OwnedRow => ({ run, row })));
    for (const [adapter, owned] of byAdapter(rows, ({ run }) => run)) {
      const runs = [...new Set(owned.map(({ run }) => run))];
      await this.#step(runs, async () => {
        const { logits } = await this.#runner.run(
          "steps",
          adapter,
          owned.map(({ row: { sequence, next } }) => ({ sequence, tokens_T: [next], scored: false })),
        );
        let at = 0;
        for (const run of runs) {
          const count = run.rows.length;
          guarded(run, () => run.advance(logits.slice(at, at + count)));
          at += count;
        }
      });
    }
  }

  /** What fails while several requests are computed together fails for all of them. */
  async #step(runs: readonly Run[], step: () => Promise<void>): Promise<void> {
    try {
      await step();
    } catch (thrown) {
      for (const run of runs) run.fail(thrown, true);
    }
  }
}

interface OwnedRow {
  readonly run: Run;
  readonly row: Row;
}

/** Groups in the order in which their adapters first come; rows of one request stay together. */
function byAdapter<Item>(items: readonly Item[], runOf: (item: Item) => Run): Map<string | null, Item[]> {
  const groups = new Map<string | null, Item[]>();
  for (const item of items) {
    const { adapter } = runOf(item).request;
    const group = groups.get(adapter);
    if (group === undefined) groups.set(adapter, [item]);
    else group.push(item);
  }
  return groups;
}

/** What one request's draw or hook throws ends that request alone. Its logits may have been no numbers. */
function guarded(run: Run, action: () => void): void {
  if (run.isOver) return;
  try {
    action();
  } catch (thrown) {
    run.fail(thrown, true);
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
