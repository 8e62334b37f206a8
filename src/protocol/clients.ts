/** The bridge between the towers: the learning tower calls these, the engine (or a remote server) implements them. */
import type { Datum, ModelInput } from "./datum.js";
import type { SampleOutput, SamplingParams } from "./sampling.js";
import type {
  AdamParams,
  ForwardBackwardOutput,
  LossFnConfig,
  LossFnName,
  OptimStepOutput,
} from "./training.js";

export interface CallOptions {
  /** Stops the call between micro-batches; the client then throws `CancelledError`. */
  readonly signal?: AbortSignal;
}

export interface LossOptions extends CallOptions {
  readonly lossFnConfig?: LossFnConfig;
  /** `forward` leaves out tokens whose weight or advantage is 0: their logprobs are reported as 0. @default false */
  readonly supervisedOnly?: boolean;
  /** Logprobs are those of softmax(logits / temperature): what a policy sampled at that temperature needs. @default 1 */
  readonly temperature?: number;
  /** `forward` leaves the adapter out: the reference policy of LoRA training, at no memory. Ours. @default false */
  readonly withoutAdapter?: boolean;
}

export interface TrainingClient {
  /** Logprobs of the targets (scores, of losses that read those) and metrics, without touching gradients. */
  forward(data: readonly Datum[], lossFn: LossFnName, options?: LossOptions): Promise<ForwardBackwardOutput>;
  /**
   * Adds the gradients of the loss to those since the last `optimStep`. Logprobs of tokens without a gradient may be
   * left out, as with `supervisedOnly`.
   */
  forwardBackward(
    data: readonly Datum[],
    lossFn: LossFnName,
    options?: LossOptions,
  ): Promise<ForwardBackwardOutput>;
  /** Applies the accumulated gradients and clears them. */
  optimStep(params: AdamParams, options?: CallOptions): Promise<OptimStepOutput>;
  /** Writes weights and optimizer state to `directory`, whole or not at all. */
  saveState(directory: string, options?: CallOptions): Promise<void>;
  /** Restores what `saveState` wrote. */
  loadState(directory: string, options?: CallOptions): Promise<void>;
  /** Writes only what a sampler needs, in Hugging Face or PEFT layout. */
  saveWeights(directory: string, options?: CallOptions): Promise<void>;
  /** Replaces the weights (Hugging Face or PEFT layout); the optimizer state starts anew. */
  loadWeights(directory: string, options?: CallOptions): Promise<void>;
  /** Ends the engine behind this client. Pending calls are rejected. */
  close(): Promise<void>;
}

export interface SampleOptions extends CallOptions {
  readonly numSamples?: number;
  readonly promptLogprobs?: boolean;
  /** Which of the sampler's adapters, by name; left out, the base model (or the trainer's current weights). */
  readonly adapter?: string;
  /** Streaming: called for every token as it is drawn. Ours. */
  readonly onToken?: (event: {
    readonly sample: number;
    readonly token: number;
    readonly logprob: number;
  }) => void;
}

export interface SamplingClient {
  sample(prompt: ModelInput, params: SamplingParams, options?: SampleOptions): Promise<SampleOutput>;
  close(): Promise<void>;
}
