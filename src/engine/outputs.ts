/** What micro-batches gave, put back in the order of the caller's datums, and the numbers that the loss reports. */
import { type Loss, reducedMetric } from "../losses/index.js";
import type { ForwardBackwardOutput, TensorData } from "../protocol/index.js";
import type { HostTensor } from "../tensor/index.js";
import { type Example, isSupervised, type MicroBatch } from "./batch.js";
import { METRIC_PREFIX } from "./training-graph.js";

/** Gathers the per-token results of micro-batches back into one record per datum. */
export class Outputs {
  readonly #loss: Loss;
  readonly #examples: readonly Example[];
  /** What the loss reads of the model, by its name: "logprobs" or "scores". */
  readonly #read: "logprobs" | "scores";
  readonly #readings: Float32Array[];
  readonly #elementwise: Float32Array[];
  /** By metric and datum, the values at the tokens that the loss supervises. */
  readonly #metrics = new Map<string, Map<number, number[]>>();
  #total = 0;
  #supervised = 0;

  constructor(loss: Loss, examples: readonly Example[]) {
    this.#loss = loss;
    this.#examples = examples;
    this.#read = loss.reads ?? "logprobs";
    this.#readings = examples.map(({ tokens_T }) => new Float32Array(tokens_T.length));
    this.#elementwise = examples.map(({ tokens_T }) => new Float32Array(tokens_T.length));
  }

  add({ datums, supervised }: MicroBatch, outputs: Readonly<Record<string, HostTensor>>): void {
    const floats = (name: string): Float32Array => outputs[name]!.data as Float32Array; // the graph's outputs are float32
    this.#total += floats("loss")[0]!;
    this.#supervised += supervised.length;
    const [readings, elementwise] = [floats(this.#read), floats("elementwise")];
    supervised.forEach(({ datum, position }, i) => {
      this.#readings[datums[datum]!]![position] = readings[i]!;
      this.#elementwise[datums[datum]!]![position] = elementwise[i]!;
    });
    for (const name of Object.keys(outputs).filter((output) => output.startsWith(METRIC_PREFIX))) {
      const values = floats(name);
      const key = name.slice(METRIC_PREFIX.length);
      const byDatum = this.#metrics.get(key) ?? new Map<number, number[]>();
      this.#metrics.set(key, byDatum);
      supervised.forEach(({ datum, position }, i) => {
        const index = datums[datum]!;
        if (!isSupervised(this.#loss, this.#examples[index]!, position)) return;
        const known = byDatum.get(index);
        if (known === undefined) byDatum.set(index, [values[i]!]);
        else known.push(values[i]!);
      });
    }
  }

  result(): ForwardBackwardOutput {
    const tensor = (values: Float32Array): TensorData => ({
      data: Array.from(values),
      dtype: "float32",
      shape: [values.length],
    });
    const reported = [...this.#metrics]
      .filter(([, byDatum]) => byDatum.size > 0)
      .map(([name, byDatum]) => [name, reducedMetric(name, [...byDatum.values()])]);
    return {
      lossFnOutputs: this.#readings.map((readings, i) => ({
        [this.#read]: tensor(readings),
        elementwise_loss: tensor(this.#elementwise[i]!),
      })),
      metrics: {
        "loss:sum": this.#total,
        "supervised_tokens:sum": this.#supervised,
        ...Object.fromEntries(reported),
      },
    };
  }
}
