import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { clipCoefficient, createParameterArena } from "./index.js";

const Named = z.record(z.string(), z.array(z.number()));
const Golden = z.object({
  initial: Named,
  gradients: z.array(Named),
  runs: z.record(
    z.string(),
    z.object({
      options: z.object({
        ...{ beta1: z.number(), beta2: z.number(), eps: z.number() },
        ...{ weightDecay: z.number(), gradClipNorm: z.number() },
      }),
      learningRates: z.array(z.number()),
      gradNorms: z.array(z.number()),
      parametersAfter: z.record(z.string(), Named),
    }),
  ),
});

/** Made by tools/golden/adamw.py. */
const golden = Golden.parse(
  JSON.parse(readFileSync(new URL("../../../tests/golden/adamw.json", import.meta.url), "utf8")),
);

describe("20 steps of torch.optim.AdamW with clip_grad_norm_ and a warmed-up schedule", () => {
  it.each(Object.entries(golden.runs))("%s: same norms, same weights within 1e-5", (_, run) => {
    const { gradClipNorm, ...options } = run.options;
    const names = Object.keys(golden.initial);
    const arena = createParameterArena(names.map((name) => golden.initial[name]!.length));
    names.forEach((name, i) => {
      arena.parameters[i]!.set(golden.initial[name]!);
    });
    const compared: string[] = [];
    golden.gradients.forEach((gradients, before) => {
      const step = before + 1;
      names.forEach((name, i) => {
        arena.gradients[i]!.set(gradients[name]!);
      });
      const norm = Math.sqrt(arena.sumOfSquares());
      expect(Math.abs(norm - run.gradNorms[before]!)).toBeLessThanOrEqual(1e-6 * norm);
      const gradientScale = clipCoefficient(norm, gradClipNorm);
      arena.adamwStep({ ...options, learningRate: run.learningRates[before]!, step, gradientScale });
      const expected = run.parametersAfter[step];
      if (expected === undefined) return;
      names.forEach((name, i) => {
        const worst = Math.max(
          ...arena.parameters[i]!.map((value, j) => Math.abs(value - expected[name]![j]!)),
        );
        expect(worst, `${name} after step ${step}`).toBeLessThan(1e-5);
        compared.push(`${name} ${step}`);
      });
    });
    expect(compared).toHaveLength(16);
  });
});
