/** Draws completions from a model, on the calling thread. */
import { CancelledError, Random } from "../../base/index.js";
import { LOSSES } from "../../losses/index.js";
import type { SampledSequence, SampleOutput, StopReason } from "../../protocol/index.js";
import type { HostTensor } from "../../tensor/index.js";
import { packBatch } from "../batch.js";
import { createDrawToken, type DrawToken, logSumExp } from "../decoding/index.js";
import { Executable } from "../executable.js";
import type { Runtime } from "../session/index.js";
import { compileLogits, type ModelSpec } from "../training-graph.js";
import { checkRequest, type SampleHooks, type SampleRequest, type TokenEvent } from "./sample-request.js";
import type { SharedSamplerOptions } from "./sampler-options.js";

/** Weights and what runs them; the sampler reads them and never writes. */
export interface SamplingModel {
  readonly spec: ModelSpec;
  readonly tensors: Readonly<Record<string, HostTensor>>;
  readonly runtime: Runtime;
  readonly threads?: number;
  readonly adapters: ReadonlyMap<string, ModelAdapter>;
}

/** An adapter on the base model: its shape and its matrices. */
export interface ModelAdapter {
  readonly spec: ModelSpec;
  readonly tensors: Readonly<Record<string, HostTensor>>;
}

export class SamplingEngine {
  readonly #model: SamplingModel;
  readonly #random: Random;
  readonly #draw: DrawToken;
  readonly #executables = new Map<string, Promise<Executable>>();
  #requests = 0;

  constructor(model: SamplingModel, { seed = 0 }: SharedSamplerOptions) {
    this.#model = model;
    this.#random = new Random(seed);
    this.#draw = createDrawToken(model.spec.config.vocabularySize);
  }

  async sample(request: SampleRequest, hooks: SampleHooks = {}): Promise<SampleOutput> {
    const { vocabularySize, maxPositions } = this.#model.spec.config;
    const checked = checkRequest(request, {
      vocabularySize,
      maxPositions,
      adapters: [...this.#model.adapters.keys()],
    });
    const seeds =
      request.params.seed === undefined
        ? this.#random.fork(`request ${this.#requests++}`)
        : new Random(request.params.seed);
    const sequences: SampledSequence[] = [];
    for (let sample = 0; sample < request.numSamples; sample++) {
      const random = seeds.fork(`sample ${sample}`);
      const tokens: number[] = [];
      const logprobs: number[] = [];
      const rawLogprobs: number[] = [];
      let stopReason: StopReason = "length";
      while (tokens.length < checked.maxTokens) {
        await new Promise((resolve) => setImmediate(resolve));
        if (hooks.isCancelled?.()) throw new CancelledError("Cancelled while sampling");
        const logits_TV = await this.#logits([...request.prompt_T, ...tokens], request.adapter, false);
        const seen = [...request.prompt_T, ...tokens];
        const drawn = this.#draw(logits_TV, request.params, seen, random);
        tokens.push(drawn.token);
        logprobs.push(drawn.logprob);
        rawLogprobs.push(drawn.rawLogprob);
        const event: TokenEvent = { sample, token: drawn.token, logprob: drawn.logprob };
        hooks.onTokens?.([event]);
        if (checked.stopTokens.has(drawn.token) || hooks.isStopped?.(sample)) {
          stopReason = "stop";
          break;
        }
      }
      sequences.push({ stopReason, tokens, logprobs, rawLogprobs });
    }
    if (!request.promptLogprobs) return { sequences };
    const logits_TV = await this.#logits(request.prompt_T, request.adapter, true);
    const promptLogprobs = request.prompt_T.map((token, t) => {
      if (t === 0) return null;
      const row = logits_TV.subarray((t - 1) * vocabularySize, t * vocabularySize);
      return row[token]! - logSumExp(row);
    });
    return { sequences, promptLogprobs };
  }

  async close(): Promise<void> {
    for (const executable of this.#executables.values()) (await executable).release();
    this.#executables.clear();
  }

  async #logits(
    tokens_T: readonly number[],
    adapter: string | null,
    everyToken: boolean,
  ): Promise<Float32Array> {
    const { runtime, threads, adapters } = this.#model;
    const { spec, tensors } = adapter === null ? this.#model : adapters.get(adapter)!;
    const weights = tokens_T.map((_, i) => Number(i === tokens_T.length - 1));
    const example = { tokens_T, targets_T: tokens_T, lossInputs: { weights } };
    const batch = packBatch(spec.config, LOSSES.cross_entropy, [example], [0], { everyToken });
    const uniform = runtime.lowering !== "native";
    let executable = this.#executables.get(adapter ?? "");
    if (executable === undefined) {
      const model = compileLogits(spec, { lowering: runtime.lowering, uniform });
      executable = Executable.create(runtime, model, threads === undefined ? {} : { threads });
      this.#executables.set(adapter ?? "", executable);
    }
    const { logits } = await (await executable).run({ ...tensors, ...batch.tensors });
    return logits!.data as Float32Array; // the graph's only output is float32
  }
}
