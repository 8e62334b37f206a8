import { expect, it } from "vitest";
import { distinctLinears, matmulFlops } from "./matmul.js";
import { MODEL_SHAPES } from "./model-shape.js";
import { stepFlops } from "./step-flops.js";

it("counts every linear layer of the model once, equal ones together", () => {
  expect(distinctLinears(MODEL_SHAPES.small)).toEqual([
    { inputs: 512, outputs: 512, count: 32 },
    { inputs: 512, outputs: 1376, count: 16 },
    { inputs: 1376, outputs: 512, count: 8 },
    { inputs: 512, outputs: 4096, count: 1 },
  ]);
});

it("counts the same products as the step's formula, which adds attention", () => {
  const { layers, sequences, tokens, hiddenSize } = MODEL_SHAPES.small;
  const attention = 3 * layers * sequences * 4 * tokens ** 2 * hiddenSize;
  const products = matmulFlops(distinctLinears(MODEL_SHAPES.small), sequences * tokens);
  expect(products + attention).toBe(stepFlops(MODEL_SHAPES.small));
});
