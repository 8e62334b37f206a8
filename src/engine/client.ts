/** The embedded `TrainingClient`: an engine in a worker thread, so that the caller's event loop stays free. */
import { UserError } from "../base/index.js";
import {
  AdamParams,
  type CallOptions,
  type ForwardBackwardOutput,
  type OptimStepOutput,
  type SamplingClient,
  type TrainingClient,
} from "../protocol/index.js";
import { connectWorker } from "./connection.js";
import type { EngineOptions } from "./options.js";
import { createSampleCall, type TrainerSamplerOptions } from "./sampling/index.js";
import type { ScoredSequence } from "./scored-sequence.js";
import type { EngineInfo } from "./training-engine.js";

export interface EmbeddedTrainingClient extends TrainingClient {
  readonly info: EngineInfo;
  /**
   * Samples from the weights as they are when a request begins, without copying them. Training calls wait until running
   * samples have ended, and samples until the training calls before them have.
   */
  samplingClient(options?: TrainerSamplerOptions): Promise<SamplingClient>;
  /** Logits [V] after the last of `tokens`: for looking at a model, not for sampling from it. */
  nextLogits(tokens: readonly number[], options?: CallOptions): Promise<Float32Array>;
  /** What a reward model gives each sequence, at its last token or at the one it names. */
  scores(sequences: readonly ScoredSequence[], options?: CallOptions): Promise<number[]>;
}

/**
 * Loads the model in a worker and resolves when it is ready.
 *
 * @throws UserError when the model, the adapter or the options are wrong
 * @example
 * const client = await createTrainingClient({ model: "models/qwen", lora: { rank: 16, alpha: 32 } });
 * await client.forwardBackward([nextTokenDatum([1, 2, 3], [0, 1, 1])], "cross_entropy");
 * await client.optimStep(AdamParams.parse({ learningRate: 1e-4 }));
 * await client.close();
 */
export async function createTrainingClient(options: EngineOptions): Promise<EmbeddedTrainingClient> {
  const { info, call, close } = await connectWorker<EngineInfo>("./worker.js", options);
  let samplers = 0;
  const samplingClient = async ({
    decode,
    ...shared
  }: TrainerSamplerOptions = {}): Promise<SamplingClient> => {
    const id = samplers++;
    await call("openSampler", [id, shared]);
    return {
      sample: createSampleCall((given, rest) => call("sample", [id, ...given], rest), decode),
      close: () => call("closeSampler", [id]),
    };
  };

  return {
    info,
    forward: (data, lossFn, { signal, ...options } = {}) =>
      call<ForwardBackwardOutput>("forward", [data, lossFn, options], { signal }),
    forwardBackward: (data, lossFn, { signal, ...options } = {}) =>
      call<ForwardBackwardOutput>("forwardBackward", [data, lossFn, options], { signal }),
    optimStep: async (params, rest) => call<OptimStepOutput>("optimStep", [checkedAdam(params)], rest),
    saveState: (directory, rest) => call("saveState", [directory], rest),
    loadState: (directory, rest) => call("loadState", [directory], rest),
    saveWeights: (directory, rest) => call("saveWeights", [directory], rest),
    loadWeights: (directory, rest) => call("loadWeights", [directory], rest),
    samplingClient,
    nextLogits: (tokens, rest) => call("nextLogits", [tokens], rest),
    scores: (sequences, rest) => call("scores", [sequences], rest),
    close,
  };
}

function checkedAdam(params: AdamParams): AdamParams {
  const parsed = AdamParams.safeParse(params);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new UserError(`Cannot take optimizer step: ${path.join(".") || "parameters"}: ${message}`);
}
