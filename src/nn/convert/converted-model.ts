/** A model read from another layout: Hugging Face's config, names and row order, tensors read when asked for. */
import type { QuantisedMatrix } from "../../tensor/index.js";

export interface ConvertedTensor {
  /** Hugging Face's name, such as `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string;
  readonly shape: readonly number[];
  /** Reads and checks the tensor: NaN and infinities are refused by name. */
  read(): Float32Array;
  /** Where the file holds Q4_0 blocks: the same numbers in 4 bits, without loss. */
  readonly readQ4?: () => QuantisedMatrix;
}

export interface ConvertedModel {
  /** What goes into `config.json`. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: readonly ConvertedTensor[];
  close(): void;
}
