/** What micro-batches gave, put back in the order of the caller's datums. */
import type { ForwardBackwardOutput, TensorData } from "../protocol/index.js";
import type { HostTensor } from "../tensor/index.js";
import type { Example, MicroBatch } from "./batch.js";

/** Gathers the per-token results of micro-batches back into one record per datum. */
export class Outputs {
  readonly #logprobs: Float32Array[];
  readonly #elementwise: Float32Array[];
  #loss = 0;
  #supervised = 0;

  constructor(examples: readonly Example[]) {
    this.#logprobs = examples.map(({ tokens_T }) => new Float32Array(tokens_T.length));
    this.#elementwise = examples.map(({ tokens_T }) => new Float32Array(tokens_T.length));
  }

  add(
    { datums, supervised }: MicroBatch,
    { loss, logprobs, elementwise }: Readonly<Record<string, HostTensor>>,
  ): void {
    this.#loss += (loss!.data as Float32Array)[0]!; // the graph's outputs are float32
    this.#supervised += supervised.length;
    supervised.forEach(({ datum, position }, i) => {
      this.#logprobs[datums[datum]!]![position] = (logprobs!.data as Float32Array)[i]!;
      this.#elementwise[datums[datum]!]![position] = (elementwise!.data as Float32Array)[i]!;
    });
  }

  result(): ForwardBackwardOutput {
    const tensor = (values: Float32Array): TensorData => ({
      data: Array.from(values),
      dtype: "float32",
      shape: [values.length],
    });
    return {
      lossFnOutputs: this.#logprobs.map((logprobs, i) => ({
        logprobs: tensor(logprobs),
        elementwise_loss: tensor(this.#elementwise[i]!),
      })),
      metrics: { "loss:sum": this.#loss, "supervised_tokens:sum": this.#supervised },
    };
  }
}
