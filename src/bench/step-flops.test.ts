import { describe, expect, it } from "vitest";
import { configOf, MODEL_SHAPES, type ModelShape } from "./model-shape.js";
import { stepFlops } from "./step-flops.js";

const TOY: ModelShape = {
  ...{ family: "llama", hiddenSize: 4, layers: 2, heads: 2, kvHeads: 1, ffnWidth: 3, vocabularySize: 5 },
  ...{ tiedEmbeddings: false, sequences: 1, tokens: 10, loraRank: null },
};

describe("stepFlops", () => {
  it("counts a model small enough for a pencil", () => {
    // A layer: query and output 16 each, key and value 8 each, three of 12: 84 weights. Head: 20.
    // Weights 2·84 + 20 = 188, forward 2·10·188 = 3760; attention 2 layers · 4·100·4 = 3200.
    expect(stepFlops(TOY)).toBe(3 * (3760 + 3200));
    // Rank 1: 8 + 6 + 6 + 8 + 7 + 7 + 7 = 49 a layer, 98 in all, 2·10·98 = 1960 forward.
    expect(stepFlops({ ...TOY, loraRank: 1 })).toBe(3 * (3200 + 1960) + 2 * 3760);
  });

  it("gives the totals from which the prototype's GF/s were computed", () => {
    expect(stepFlops(MODEL_SHAPES.tiny) / 1e9).toBeCloseTo(43.69, 2);
    expect(stepFlops(MODEL_SHAPES.small) / 1e9).toBeCloseTo(362.39, 2);
    expect(stepFlops(MODEL_SHAPES["qwen2.5-0.5b"]) / 1e9).toBeCloseTo(505.82 + 16.91 + 13.51, 1);
  });
});

it("writes the sizes of the published Qwen2.5 configurations", () => {
  expect(configOf(MODEL_SHAPES["qwen2.5-7b"])).toMatchObject({
    ...{ model_type: "qwen2", hidden_size: 3584, intermediate_size: 18_944, num_hidden_layers: 28 },
    ...{ num_attention_heads: 28, num_key_value_heads: 4, vocab_size: 152_064, tie_word_embeddings: false },
  });
});
