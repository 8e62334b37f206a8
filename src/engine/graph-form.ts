/** What a call asks of the graph, beyond the loss and its datums. */
import { UserError } from "../base/index.js";
import type { LossFnConfig } from "../protocol/index.js";
import { type HostTensor, hostTensor } from "../tensor/index.js";
import { type ModelSpec, TEMPERATURE } from "./training-graph.js";

/** Asked between micro-batches; true ends the call with `CancelledError`. */
export type IsCancelled = () => boolean;

export interface ForwardOptions {
  readonly lossFnConfig?: LossFnConfig;
  /** Computes only tokens that can have a gradient; the logprobs of others are reported as 0. @default false */
  readonly supervisedOnly?: boolean;
  /** Logprobs are those of softmax(logits / temperature). @default 1 */
  readonly temperature?: number;
  /** `forward` computes the base model's logprobs, as if there were no adapter. @default false */
  readonly withoutAdapter?: boolean;
  readonly isCancelled?: IsCancelled;
}

/** Whether the graph divides its logits and has the adapter in it, and the numbers it is fed for that. */
export interface GraphForm {
  readonly isTempered: boolean;
  readonly withoutAdapter: boolean;
  readonly isBackward: boolean;
  readonly tensors: Readonly<Record<string, HostTensor>>;
}

/** @throws UserError when the options make no sense for this model */
export function graphForm(
  { config, lora }: ModelSpec,
  { temperature = 1, withoutAdapter = false }: ForwardOptions,
): GraphForm {
  const isTempered = temperature !== 1;
  if (!(temperature > 0 && Number.isFinite(temperature)))
    throw new UserError(`Cannot compute logprobs at temperature ${temperature}: expected a positive number`);
  if (config.head === "score" && (isTempered || withoutAdapter))
    throw new UserError(
      `Cannot compute scores ${isTempered ? `at temperature ${temperature}` : "without the adapter"}: a reward model's score has no temperature and was trained with its adapter, expected neither option`,
    );
  if (withoutAdapter && lora === null)
    throw new UserError(
      "Cannot compute logprobs without the adapter: this engine trains all weights, so there is no base model left. Keep the reference's logprobs from before training, or train with lora",
    );
  return {
    isTempered,
    withoutAdapter,
    isBackward: false,
    tensors: isTempered ? { [TEMPERATURE]: hostTensor("float32", [], Float32Array.of(temperature)) } : {},
  };
}
