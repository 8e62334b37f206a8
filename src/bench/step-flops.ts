/** How much arithmetic a training step is, by formula. Matrix products only; everything else is rounding beside them. */
import { linearsOf, type ModelShape } from "./model-shape.js";

/**
 * Floating-point operations of forward and backward over one batch.
 *
 *     step = 3·(attention + adapters) + w·(2·tokens·weights)     w = 3, or 2 when the weights are frozen
 *
 * A product of M×K and K×N counts 2·M·K·N. Attention counts its two products over the full T×T square, causal or
 * not: 4·T²·C a sequence and layer. A trained weight costs three products (output, input gradient, weight gradient), a
 * frozen one two. The vocabulary projection is a weight like the others.
 */
export function stepFlops(shape: ModelShape): number {
  const { hiddenSize, layers, sequences, tokens, loraRank, vocabularySize } = shape;
  const batchTokens = sequences * tokens;
  const linears = linearsOf(shape);
  const layerWeights = linears.reduce((sum, { inputs, outputs }) => sum + inputs * outputs, 0);
  const weights = layers * layerWeights + vocabularySize * hiddenSize;
  const attention = layers * sequences * 4 * tokens ** 2 * hiddenSize;
  const adapterWeights =
    loraRank === null
      ? 0
      : layers * linears.reduce((sum, { inputs, outputs }) => sum + loraRank * (inputs + outputs), 0);
  return (
    3 * (attention + 2 * batchTokens * adapterWeights) +
    (loraRank === null ? 3 : 2) * (2 * batchTokens * weights)
  );
}
