/** The metrics that training loops record, defined once: the documentation is made from this table. */

export interface MetricDefinition {
  readonly unit: string;
  readonly meaning: string;
  /** Belongs to the machine, not to the training: a repeated run gives another value. */
  readonly isMachine: boolean;
}

const ofTraining = (unit: string, meaning: string): MetricDefinition => ({ unit, meaning, isMachine: false });
const ofMachine = (unit: string, meaning: string): MetricDefinition => ({ unit, meaning, isMachine: true });

export const SFT_METRICS = {
  "loss/train": ofTraining(
    "nats per token",
    "−Σ logprob ÷ N over the N tokens of the step's batch that have a loss",
  ),
  "loss/validation": ofTraining(
    "nats per token",
    "The same over all validation rows, after the step's update",
  ),
  "optimizer/learning_rate": ofTraining("1", "Learning rate of the step's update"),
  "optimizer/grad_norm": ofTraining("1", "Global L2 norm of the gradient before clipping"),
  "data/epoch": ofTraining(
    "epochs",
    "Passes over the training rows done, with the fraction of the current one",
  ),
  "tokens/total": ofTraining("tokens", "Tokens trained on so far, prompts included"),
  "tokens/supervised": ofTraining("tokens", "Tokens of the step's batch that have a loss"),
  "tokens/per_second": ofMachine("tokens per second", "Tokens of the step, prompts included, by its time"),
  "time/step_seconds": ofMachine("seconds", "Time of forwardBackward and optimStep"),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type SftMetricName = keyof typeof SFT_METRICS;
export type SftMetrics = Partial<Record<SftMetricName, number>>;
