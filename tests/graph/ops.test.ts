/** One suite over every op: reference = decomposition, vjp = central differences, every lowering on onnxruntime = reference. */
import { describe, expect, it } from "vitest";
import * as graph from "../../src/graph/index.js";
import { OPS, type Value } from "../../src/graph/index.js";
import { OP_SAMPLES, type Sample } from "./op-samples.js";
import { createRuntimes, runModel } from "./run-model.js";

const runtimes = await createRuntimes();

function built(sample: Sample): {
  readonly values: Record<string, Value>;
  readonly outputs: Record<string, Value>;
} {
  const values = Object.fromEntries(
    Object.entries(sample.inputs).map(([name, { dtype, array }]) => [
      name,
      graph.input(name, array.shape, dtype),
    ]),
  );
  return { values, outputs: Object.fromEntries(sample.build(values).map((value, i) => [`y${i}`, value])) };
}

const arrays = (sample: Sample) =>
  Object.fromEntries(Object.entries(sample.inputs).map(([name, { array }]) => [name, array]));

describe.each(Object.keys(OPS) as (keyof typeof OPS)[])("%s", (name) => {
  it.each(OP_SAMPLES[name].map((sample) => [sample.title, sample] as const))(
    "on %s",
    async (_title, sample) => {
      const { values, outputs } = built(sample);
      const isUsed =
        graph.nodesOf({ outputs }).some((node) => node.op.name === name) ||
        graph.nodesOf(graph.decompose({ outputs }, "primitives")).some((node) => node.op.name === name);
      expect(isUsed || ["dequantise", "stopGradient"].includes(name), `the sample builds no ${name}`).toBe(
        true,
      );
      graph.verify({ outputs });
      const expected = graph.evaluate({ outputs }, arrays(sample));

      const plain = graph.decompose({ outputs }, "primitives");
      graph.verify(plain);
      const decomposed = graph.evaluate(plain, arrays(sample));
      for (const [output, { data }] of Object.entries(expected)) {
        expect(largestGap(decomposed[output]!.data, data), `decomposed ${output}`).toBeLessThan(1e-11);
      }

      if (sample.differentiable.length > 0) {
        const weights = Object.values(outputs)
          .slice(0, 1)
          .map((value, i) => graph.input(`weight${i}`, value.shape));
        const scalar = graph.sumAll(graph.mul(Object.values(outputs)[0]!, weights[0]!));
        const wrt = Object.fromEntries(sample.differentiable.map((key) => [key, values[key]!]));
        const seed = {
          weight0: {
            shape: expected["y0"]!.shape,
            data: expected["y0"]!.data.map((_, i) => Math.sin(i + 1)),
          },
        };
        expect(
          graph.relativeGap(graph.checkGradient(scalar, wrt, { ...arrays(sample), ...seed })),
        ).toBeLessThan(1e-6);
      }

      for (const { lowering, runtime } of runtimes) {
        const actual = await runModel(runtime, graph.compile({ outputs }, { lowering }), sample.inputs);
        for (const [output, { data }] of Object.entries(expected)) {
          expect(largestGap(actual[output]!, data), `${lowering} ${output}`).toBeLessThan(
            sample.tolerance ?? 2e-6,
          );
        }
      }
    },
  );
});

it("catches an op whose vjp is wrong", () => {
  const WrongExp = {
    ...OPS.exp,
    vjp: ({ outputGrads: [dy] }: Parameters<NonNullable<typeof OPS.exp.vjp>>[0]) => [dy!],
  };
  const x = graph.input("x", [3]);
  const [y] = graph.applyAll(WrongExp, [x], null);
  const check = graph.checkGradient(
    graph.sumAll(y!),
    { x },
    { x: { shape: [3], data: Float64Array.of(0.3, -0.7, 1.1) } },
  );
  expect(graph.relativeGap(check)).toBeGreaterThan(0.1);
});

/** Largest error relative to the largest element, so that sums that cancel are not held to digits they never had. */
function largestGap(actual: ArrayLike<number>, expected: Float64Array): number {
  expect(actual.length).toBe(expected.length);
  const size = expected.reduce((a, b) => Math.max(a, Math.abs(b)), 1);
  return (
    expected.reduce(
      (gap, value, i) =>
        Math.max(gap, Number.isNaN(actual[i]) ? Number.POSITIVE_INFINITY : Math.abs(actual[i]! - value)),
      0,
    ) / size
  );
}
