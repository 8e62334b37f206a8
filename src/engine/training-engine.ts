/** Holds a model's weights and trains them, on the calling thread. `client.ts` puts one behind a worker. */
import { CancelledError, UserError } from "../base/index.js";
import { attentionNeedsRows } from "../graph/index.js";
import { expectWholeExamples, LOSSES, type Loss, readLoss } from "../losses/index.js";
import { clipCoefficient, SCORE } from "../nn/index.js";
import type {
  AdamParams,
  Datum,
  ForwardBackwardOutput,
  LossFnConfig,
  LossFnName,
  OptimStepOutput,
} from "../protocol/index.js";
import { type HostTensor, sizeOf } from "../tensor/index.js";
import { isAdapterFolder, readAdapter, writeAdapter } from "./adapter-files.js";
import {
  type Example,
  firstForeignId,
  type MicroBatch,
  type PackOptions,
  packBatch,
  readExample,
  splitIntoMicroBatches,
} from "./batch.js";
import { allocate, Executable } from "./executable.js";
import { type ForwardOptions, type GraphForm, graphForm, type IsCancelled } from "./graph-form.js";
import { writeModel } from "./model-files.js";
import type { EngineOptions } from "./options.js";
import { Outputs } from "./outputs.js";
import { expectHead, withHead } from "./reward-head.js";
import { readAdapters, SamplingEngine, type SharedSamplerOptions } from "./sampling/index.js";
import { SCORING, type ScoredSequence, scoredExample } from "./scored-sequence.js";
import { type ChosenRuntime, createRuntime } from "./session/index.js";
import { plansMemory, resolveSpec } from "./spec.js";
import { openOptimizerState, writeOptimizerState } from "./state-files.js";
import {
  compileLogits,
  compileScores,
  compileTraining,
  gradientName,
  type ModelSpec,
} from "./training-graph.js";
import { openWeightSource, type WeightSource } from "./weight-source.js";
import { loadWeights, type Weights } from "./weights.js";

export interface EngineInfo {
  readonly family: string;
  readonly parameters: number;
  readonly trainableParameters: number;
  readonly vocabularySize: number;
  readonly maxPositions: number;
  /** Which operators run, and why those. */
  readonly runtime: string;
}

const never: IsCancelled = () => false;

export class TrainingEngine {
  readonly #options: EngineOptions;
  readonly #spec: ModelSpec;
  readonly #source: WeightSource;
  readonly #runtime: ChosenRuntime;
  readonly #weights: Weights;
  readonly #executables = new Map<string, Promise<Executable>>();
  #optimizerStep = 0;
  /** `forwardBackward` calls whose gradients wait for `optimStep`. */
  #pending = 0;

  private constructor(
    options: EngineOptions,
    spec: ModelSpec,
    source: WeightSource,
    runtime: ChosenRuntime,
    weights: Weights,
  ) {
    this.#options = options;
    this.#spec = spec;
    this.#source = source;
    this.#runtime = runtime;
    this.#weights = weights;
  }

  /** @throws UserError when the model, the adapter or the options are wrong */
  static async create(options: EngineOptions): Promise<TrainingEngine> {
    const source = withHead(openWeightSource(options.model), options);
    try {
      const runtime = await createRuntime({ prefer: options.runtime ?? "native" });
      const { spec, adapter } = resolveSpec(options, source, runtime.lowering);
      const weights = loadWeights(spec, source, {
        seed: options.seed ?? 0,
        adapter: adapter?.tensors ?? null,
      });
      return new TrainingEngine(options, spec, source, runtime, weights);
    } finally {
      source.close();
    }
  }

  get info(): EngineInfo {
    const { config } = this.#spec;
    const count = (tensors: readonly { readonly shape: readonly number[] }[]): number =>
      tensors.reduce((total, { shape }) => total + shape.reduce((a, b) => a * b, 1), 0);
    const { lowering, reason } = this.#runtime;
    return {
      family: config.family,
      parameters: count(Object.values(this.#weights.tensors)),
      trainableParameters: count(this.#weights.trainable),
      vocabularySize: config.vocabularySize,
      maxPositions: config.maxPositions,
      runtime: `${lowering} (${reason})`,
    };
  }

  /** Logprobs of the targets; gradients stay as they are. */
  async forward(
    data: readonly Datum[],
    lossFn: LossFnName,
    options: ForwardOptions = {},
  ): Promise<ForwardBackwardOutput> {
    const { lossFnConfig = {}, supervisedOnly = false, isCancelled = never } = options;
    const { loss, lossConfig, examples } = this.#read(data, lossFn, lossFnConfig);
    const form = graphForm(this.#spec, options);
    const collected = new Outputs(loss, examples);
    for (const indices of this.#split(examples, loss)) {
      await pause(isCancelled);
      const batch = this.#pack(loss, examples, indices, { everyToken: !supervisedOnly });
      const executable = await this.#training(loss, lossConfig, batch.uniform, form);
      const inputs = { ...this.#weights.tensors, ...batch.tensors, ...form.tensors };
      collected.add(batch, await executable.run(inputs));
    }
    return collected.result();
  }

  /**
   * Adds the gradients of the loss to those since the last `optimStep`. Logprobs are computed, and reported, only for
   * tokens that can have a gradient (weight or advantage not 0); others are reported as 0.
   * When cancelled, all gradients since the last `optimStep` are dropped.
   */
  async forwardBackward(
    data: readonly Datum[],
    lossFn: LossFnName,
    options: ForwardOptions = {},
  ): Promise<ForwardBackwardOutput> {
    const { lossFnConfig = {}, isCancelled = never } = options;
    const { loss, lossConfig, examples } = this.#read(data, lossFn, lossFnConfig);
    if (options.withoutAdapter === true)
      throw new UserError(
        `Cannot train with "${lossFn}" without the adapter: nothing else is trained. Leave withoutAdapter to forward`,
      );
    const form = { ...graphForm(this.#spec, options), isBackward: true };
    const collected = new Outputs(loss, examples);
    const { arena, trainable } = this.#weights;
    const scratch: Record<string, HostTensor> = {};
    try {
      for (const indices of this.#split(examples, loss)) {
        await pause(isCancelled);
        const batch = this.#pack(loss, examples, indices);
        const executable = await this.#training(loss, lossConfig, batch.uniform, form);
        const isFirst = this.#pending === 0;
        const into: Record<string, HostTensor> = {};
        for (const { name, shape } of trainable) {
          const target = { dtype: "float32" as const, shape, data: this.#weights.slot(name).gradient };
          into[gradientName(name)] = isFirst ? target : (scratch[name] ??= allocate("float32", shape));
        }
        this.#pending++;
        const inputs = { ...this.#weights.tensors, ...batch.tensors, ...form.tensors };
        collected.add(batch, await executable.run(inputs, executable.outputNames, into));
        if (!isFirst) {
          for (const { name } of trainable)
            arena.accumulate(this.#weights.slot(name).gradient, scratch[name]!.data as Float32Array); // allocated so above
        }
      }
    } catch (thrown) {
      this.#dropGradients();
      throw thrown;
    }
    return collected.result();
  }

  /** One AdamW update with the accumulated gradients, which are then cleared. Without any, weights only decay. */
  optimStep(params: AdamParams): OptimStepOutput {
    const { arena } = this.#weights;
    if (this.#pending === 0) arena.zeroGradients();
    const gradNorm = Math.sqrt(arena.sumOfSquares());
    if (!Number.isFinite(gradNorm)) {
      const culprit = this.#weights.trainable.find(({ name }) =>
        this.#weights.slot(name).gradient.some((value) => !Number.isFinite(value)),
      );
      this.#dropGradients();
      throw new UserError(
        `Cannot take optimizer step ${this.#optimizerStep + 1}: the gradient of "${culprit?.name}" has NaN or infinite elements, expected finite ones. Weights are unchanged`,
      );
    }
    this.#optimizerStep++;
    const { learningRate, beta1, beta2, eps, weightDecay, gradClipNorm } = params;
    arena.adamwStep({
      learningRate,
      beta1,
      beta2,
      eps,
      weightDecay,
      step: this.#optimizerStep,
      gradientScale: clipCoefficient(gradNorm, gradClipNorm),
    });
    this.#dropGradients();
    return { metrics: { "grad_norm:mean": gradNorm, "optimizer_step:max": this.#optimizerStep } };
  }

  /** Weights as Hugging Face or PEFT files, and what a resumed run needs beside them. */
  saveState(directory: string): void {
    if (this.#pending > 0) {
      throw new UserError(
        `Cannot save state to "${directory}": gradients of ${this.#pending} micro-batches wait for optimStep, expected none. Call optimStep first`,
      );
    }
    this.saveWeights(directory);
    writeOptimizerState(directory, this.#spec, this.#weights, this.#optimizerStep);
  }

  /** Restores what `saveState` wrote; a damaged or foreign state changes nothing. */
  loadState(directory: string): void {
    const state = openOptimizerState(directory, this.#spec, this.#weights);
    try {
      this.loadWeights(directory);
      state.fillMoments();
      this.#optimizerStep = state.optimizerStep;
    } finally {
      state.close();
    }
  }

  saveWeights(directory: string): void {
    const { lora } = this.#spec;
    if (lora === null) {
      writeModel(directory, this.#source, this.#weights);
      return;
    }
    const { trainable, slot } = this.#weights;
    writeAdapter(directory, {
      lora,
      parameters: trainable,
      values: (name) => slot(name).parameter,
      baseModel: this.#source.folder,
    });
  }

  /** Replaces the trainable weights; the optimizer starts anew. Files that are damaged or do not fit change nothing. */
  loadWeights(directory: string): void {
    const { trainable, arena, slot } = this.#weights;
    if (this.#spec.lora !== null) {
      if (!isAdapterFolder(directory))
        throw new UserError(
          `Cannot load weights "${directory}": it has no adapter_config.json, expected a PEFT folder because this engine trains an adapter`,
        );
      const { lora, tensors } = readAdapter(directory, this.#spec.config);
      if (JSON.stringify(lora) !== JSON.stringify(this.#spec.lora)) {
        throw new UserError(
          `Cannot load adapter "${directory}": it has rank ${lora.rank}, alpha ${lora.alpha} on ${lora.targets.join(", ")}, expected rank ${this.#spec.lora.rank}, alpha ${this.#spec.lora.alpha} on ${this.#spec.lora.targets.join(", ")}`,
        );
      }
      if (this.#spec.config.head === "score" && !tensors.has(SCORE))
        throw new UserError(
          `Cannot load adapter "${directory}": it has no "${SCORE}", expected one because this engine trains a reward model`,
        );
      for (const { name } of trainable) slot(name).parameter.set(tensors.get(name)!);
    } else {
      const source = openWeightSource(directory);
      try {
        if (JSON.stringify(source.config) !== JSON.stringify(this.#spec.config)) {
          throw new UserError(
            `Cannot load weights "${directory}": its config.json describes another model than the engine holds, expected the same architecture and sizes`,
          );
        }
        // Read twice: NaN in the last tensor must not leave the first ones replaced.
        const scratch = new Float32Array(Math.max(...trainable.map(({ shape }) => sizeOf(shape))));
        for (const parameter of trainable)
          source.fill(parameter, scratch.subarray(0, sizeOf(parameter.shape)));
        for (const parameter of trainable) source.fill(parameter, slot(parameter.name).parameter);
      } finally {
        source.close();
      }
    }
    for (const moments of [...arena.firstMoments, ...arena.secondMoments]) moments.fill(0);
    this.#optimizerStep = 0;
    this.#dropGradients();
  }

  /** A sampler that reads these very weights, so that it sees every step. Sampling and training must take turns. */
  samplingEngine(options: SharedSamplerOptions = {}): SamplingEngine {
    expectHead(this.#spec.config, "vocabulary", "sample");
    const { tensors } = this.#weights;
    const { threads } = this.#options;
    const adapters = readAdapters(options.adapters ?? {}, this.#spec, tensors);
    const model = { spec: this.#spec, tensors, runtime: this.#runtime, adapters, isTrained: true };
    return new SamplingEngine(threads === undefined ? model : { ...model, threads }, options);
  }

  /** Logits [V] after the last of `tokens`: for looking at a model, not for sampling from it. */
  async nextLogits(tokens: readonly number[]): Promise<Float32Array> {
    const { vocabularySize } = this.#spec.config;
    expectHead(this.#spec.config, "vocabulary", "compute logits");
    if (tokens.length === 0) throw new UserError("Cannot compute logits: 0 tokens, expected at least 1");
    const at = firstForeignId(tokens, vocabularySize);
    if (at >= 0)
      throw new UserError(
        `Cannot compute logits: token ${tokens[at]} at position ${at}, expected an id below the vocabulary size ${vocabularySize}`,
      );
    const example: Example = {
      tokens_T: tokens,
      targets_T: tokens,
      lossInputs: { weights: tokens.map((_, i) => Number(i === tokens.length - 1)) },
    };
    const batch = packBatch(this.#spec.config, LOSSES.cross_entropy, [example], [0]);
    const { lowering } = this.#runtime;
    const executable = await this.#executable(`logits ${batch.uniform}`, () =>
      compileLogits(this.#spec, { lowering, uniform: this.#layoutOf(batch.uniform) }),
    );
    const { logits } = await executable.run({ ...this.#weights.tensors, ...batch.tensors });
    return logits!.data as Float32Array; // the graph's only output is float32
  }

  /** What a reward model gives each sequence at its token `at`. The index is data, never inferred from what stands there. */
  async scores(
    sequences: readonly ScoredSequence[],
    { isCancelled = never }: { readonly isCancelled?: IsCancelled } = {},
  ): Promise<number[]> {
    expectHead(this.#spec.config, "score", "score");
    const examples = sequences.map((sequence, index) =>
      scoredExample(sequence, index, this.#spec.config.vocabularySize),
    );
    const { lowering } = this.#runtime;
    const scores: number[] = [];
    for (const indices of this.#split(examples, SCORING)) {
      await pause(isCancelled);
      const batch = this.#pack(SCORING, examples, indices);
      const uniform = this.#layoutOf(batch.uniform);
      const executable = await this.#executable(`scores ${uniform}`, () =>
        compileScores(this.#spec, { lowering, uniform }),
      );
      const outputs = await executable.run({ ...this.#weights.tensors, ...batch.tensors });
      scores.push(...(outputs["scores"]!.data as Float32Array)); // the graph's only output is float32
    }
    return scores;
  }

  async close(): Promise<void> {
    for (const executable of this.#executables.values()) (await executable).release();
    this.#executables.clear();
  }

  #read(
    data: readonly Datum[],
    lossFn: LossFnName,
    given: LossFnConfig,
  ): { readonly loss: Loss; readonly lossConfig: LossFnConfig; readonly examples: readonly Example[] } {
    const { loss, lossConfig } = readLoss(lossFn, given);
    if (data.length === 0)
      throw new UserError(`Cannot train with "${lossFn}": 0 datums, expected at least 1`);
    expectWholeExamples(loss, data.length);
    expectHead(this.#spec.config, loss.reads === "scores" ? "score" : "vocabulary", `train with "${lossFn}"`);
    return {
      loss,
      lossConfig,
      examples: data.map((datum, index) => readExample(datum, index, loss, this.#spec.config.vocabularySize)),
    };
  }

  #split(examples: readonly Example[], { datumsPerExample = 1 }: Loss): number[][] {
    const { microBatchTokens: maxTokens = 4096, sharePrefixes = true } = this.#options;
    const rows = this.#needsRows;
    return splitIntoMicroBatches(this.#spec.config, examples, {
      maxTokens,
      sharePrefixes,
      rows,
      datumsPerExample,
    });
  }

  #pack(
    loss: Loss,
    examples: readonly Example[],
    indices: readonly number[],
    options: PackOptions = {},
  ): MicroBatch {
    const { sharePrefixes = true } = this.#options;
    const rows = this.#needsRows;
    return packBatch(this.#spec.config, loss, examples, indices, { sharePrefixes, rows, ...options });
  }

  get #needsRows(): boolean {
    return attentionNeedsRows(this.#runtime.lowering, this.#spec.config.headWidth);
  }

  #training(
    loss: Loss,
    lossConfig: LossFnConfig,
    uniform: boolean,
    { isTempered, withoutAdapter, isBackward }: GraphForm,
  ): Promise<Executable> {
    const layout = this.#layoutOf(uniform);
    const key = `${loss.name} ${JSON.stringify(lossConfig)} ${layout} ${isBackward} ${isTempered} ${withoutAdapter}`;
    const spec = withoutAdapter ? { ...this.#spec, lora: null } : this.#spec;
    return this.#executable(key, () =>
      compileTraining(spec, {
        lowering: this.#runtime.lowering,
        loss,
        lossConfig,
        uniform: layout,
        isTempered,
        trainable: isBackward ? this.#weights.trainable.map(({ name }) => name) : [],
        gradientCheckpointing: this.#options.gradientCheckpointing ?? false,
      }),
    );
  }

  /** Our own attention needs no rows, so one graph serves both layouts there. */
  #layoutOf(uniform: boolean): boolean {
    return uniform && this.#runtime.lowering !== "native";
  }

  #executable(key: string, compile: () => ReturnType<typeof compileTraining>): Promise<Executable> {
    let executable = this.#executables.get(key);
    if (executable === undefined) {
      const { threads, gradientCheckpointing = false } = this.#options;
      // Stock operators widen 4-bit weights in the graph: merged, each would stay widened from the forward pass to the backward.
      const widensInGraph = this.#spec.quantised !== null && this.#runtime.lowering !== "native";
      const keepDuplicates = gradientCheckpointing || widensInGraph;
      executable = Executable.create(this.#runtime, compile(), {
        keepDuplicates,
        planMemory: plansMemory(this.#spec, this.#options),
        ...(threads === undefined ? {} : { threads }),
      });
      this.#executables.set(key, executable);
    }
    return executable;
  }

  #dropGradients(): void {
    this.#pending = 0;
  }
}

/** Lets messages in, so that a cancellation can be seen, and honours it. */
async function pause(isCancelled: IsCancelled): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  if (isCancelled())
    throw new CancelledError(
      "Cancelled between micro-batches; gradients since the last optimStep are dropped",
    );
}
