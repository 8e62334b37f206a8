/** Our policy losses on the engine and in two passes, and the laws they obey. Numbers from TRL: trl-losses.test.ts. */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random, UserError } from "../../src/base/index.js";
import { TrainingEngine } from "../../src/engine/index.js";
import * as graph from "../../src/graph/index.js";
import { forwardBackwardInTwoPasses, LOSSES, twoPassClient } from "../../src/losses/index.js";
import {
  type Datum,
  type LossFnConfig,
  LossFnName,
  modelInputFromTokens,
  TinkerLossFnName,
  type TrainingClient,
} from "../../src/protocol/index.js";
import {
  largestGap,
  largestRelativeGap,
  TINY_CONFIG,
  takeGradients,
  temporaryFolder,
} from "./tiny-models.js";

const OURS = LossFnName.options.filter(
  (name) =>
    !(TinkerLossFnName.options as readonly string[]).includes(name) &&
    LOSSES[name].inputs.includes("advantages"),
);
const UNBOUNDED = { clip_low_threshold: 0, clip_high_threshold: 1e30 };

interface Tokens {
  readonly trainingLogprobs: readonly number[];
  readonly sequences: readonly number[];
  readonly entropies: readonly number[];
  readonly inputs: Readonly<Record<string, readonly number[]>>;
}

/** `count` tokens of three sequences; about a fourth are masked. */
function randomTokens(seed: number, count: number): Tokens {
  const random = new Random(seed);
  const draw = (value: () => number): number[] => Array.from({ length: count }, value);
  const trainingLogprobs = draw(() => -3 * random.uniform() - 0.1);
  const near = (spread: number): number[] =>
    trainingLogprobs.map((value) => value + spread * random.normal());
  return {
    trainingLogprobs,
    sequences: Array.from({ length: count }, (_, i) => Math.floor((3 * i) / count)),
    entropies: draw(() => 2 * random.uniform()),
    inputs: {
      logprobs: near(0.3),
      advantages: draw(() => random.normal()),
      weights: draw(() => (random.uniform() < 0.25 ? 0 : random.uniform() + 0.1)),
      reference_logprobs: near(0.4),
      entropy_weights: draw(() => random.uniform()),
    },
  };
}

function graphOf(name: LossFnName, tokens: Tokens, config: LossFnConfig) {
  const loss = LOSSES[name];
  const shape = [tokens.trainingLogprobs.length];
  const [logprobs, entropy_S] = [graph.input("trainingLogprobs", shape), graph.input("entropies", shape)];
  const elementwise = loss.perToken({
    trainingLogprobs_S: logprobs,
    inputs: Object.fromEntries(loss.inputs.map((input) => [input, graph.input(input, shape)])),
    sequences_S: graph.input("sequences", shape, "int64"),
    entropy_S,
    config: { ...loss.defaults, ...config },
  });
  const array = (data: readonly number[]) => ({ shape, data: Float64Array.from(data) });
  const arrays = Object.fromEntries(
    Object.entries({ ...tokens, ...tokens.inputs })
      .filter((entry): entry is [string, readonly number[]] => Array.isArray(entry[1]))
      .map(([key, data]) => [key, array(data)]),
  );
  return { elementwise, logprobs, entropy_S, arrays };
}

/** In float64: the loss, its derivatives by logprobs and by entropies. */
function lossOf(name: LossFnName, tokens: Tokens, config: LossFnConfig = {}) {
  const { elementwise, logprobs, entropy_S, arrays } = graphOf(name, tokens, config);
  const total = graph.sumAll(elementwise);
  const [gradient, entropyGradient] = graph.gradient(total, [logprobs, entropy_S]);
  const outputs = { total, gradient: gradient!, entropyGradient: entropyGradient! };
  const results = graph.evaluate({ outputs }, arrays);
  return {
    loss: results["total"]!.data[0]!,
    gradient: results["gradient"]!.data,
    entropyGradient: results["entropyGradient"]!.data,
  };
}

const changed = (tokens: Tokens, inputs: Readonly<Record<string, readonly number[]>>): Tokens => ({
  ...tokens,
  inputs: { ...tokens.inputs, ...inputs },
});
const everything: LossFnConfig = { kl_coef: 0.1, entropy_coef: 0.05 };
const seeds = fc.integer({ min: 0, max: 1e6 });
const law = (holds: (seed: number) => void): void => fc.assert(fc.property(seeds, holds), { numRuns: 25 });

describe("hand numbers", () => {
  // One token with π = e⁻¹, π_old = e⁻², so that r = e; A = 2, w = 3, π_ref = e⁻³ so that d = −2; H = 0.7, e = 2.
  const one: Tokens = {
    trainingLogprobs: [-1],
    sequences: [0],
    entropies: [0.7],
    inputs: { logprobs: [-2], advantages: [2], weights: [3], reference_logprobs: [-3], entropy_weights: [2] },
  };
  const k3 = Math.exp(-2) + 2 - 1;
  it.each<[LossFnName, LossFnConfig, number]>([
    // min(2e, 1.2 · 2) = 2.4, times w.
    ["grpo", {}, -7.2],
    ["grpo", UNBOUNDED, -6 * Math.E],
    ["gspo", UNBOUNDED, -6 * Math.E],
    // sg(min(e, 5)) · 2 · (−1), negated: 2e.
    ["weighted_cispo", {}, 6 * Math.E],
    // The clip alone, then the KL times 0.5 in each form, times w.
    ["grpo", { kl_coef: 0.5, kl_bias_correction: 0 }, -7.2 + 1.5 * k3],
    ["grpo", { kl_coef: 0.5 }, -7.2 + 1.5 * k3 * Math.E],
    ["grpo", { kl_coef: 0.5, kl_estimator: 1, kl_bias_correction: 0 }, -7.2 + 1.5 * 2],
    ["grpo", { kl_coef: 0.5, kl_estimator: 2, kl_bias_correction: 0 }, -7.2 + 1.5 * 2],
    // The entropy's weight is its own: 0.1 · 2 · 0.7.
    ["grpo", { entropy_coef: 0.1 }, -7.2 - 0.14],
  ])("%s %o", (name, config, loss) => {
    expect(lossOf(name, one, config).loss).toBeCloseTo(loss, 12);
  });

  it("delta() cuts the ratio where the advantage is negative", () => {
    // A = −2: min(−2e, −2 · 1.2) = −2e; with δ = 2, min(−2 · 2, −2.4) = −4, and no gradient.
    const negative = changed(one, { advantages: [-2] });
    expect(lossOf("grpo", negative).loss).toBeCloseTo(6 * Math.E, 12);
    expect(lossOf("grpo", negative, { delta: 2 }).loss).toBeCloseTo(12, 12);
    expect(lossOf("grpo", negative, { delta: 2 }).gradient[0]).toBe(0);
  });

  it("gspo() takes the mean of a sequence's log ratios, rloo() their sum, both without masked tokens", () => {
    // Log ratios 1, 2 and a masked 100 in the first sequence, 4 in the second.
    const tokens: Tokens = {
      trainingLogprobs: [-1, -1, -1, -1],
      sequences: [0, 0, 0, 1],
      entropies: [0, 0, 0, 0],
      inputs: {
        logprobs: [-2, -3, -101, -5],
        advantages: [1, 1, 1, 1],
        weights: [1, 1, 0, 1],
        reference_logprobs: [0, 0, 0, 0],
        entropy_weights: [1, 1, 1, 1],
      },
    };
    expect(lossOf("gspo", tokens, UNBOUNDED).loss).toBeCloseTo(-2 * Math.exp(1.5) - Math.exp(4), 10);
    expect(lossOf("rloo", tokens, UNBOUNDED).loss).toBeCloseTo(-2 * Math.exp(3) - Math.exp(4), 10);
  });
});

describe("laws", () => {
  it("grpo() with bounds that never bind is importance_sampling() of weighted advantages", () =>
    law((seed) => {
      const tokens = randomTokens(seed, 30);
      const advantages = tokens.inputs["advantages"]!.map(
        (value, i) => value * tokens.inputs["weights"]![i]!,
      );
      const plain = lossOf("importance_sampling", changed(tokens, { advantages }));
      const clipped = lossOf("grpo", tokens, UNBOUNDED);
      expect(clipped.loss).toBeCloseTo(plain.loss, 12);
      expect(largestGap(clipped.gradient, plain.gradient)).toBeLessThan(1e-12);
    }));

  it("weighted_cispo() is cispo() of weighted advantages", () =>
    law((seed) => {
      const tokens = randomTokens(seed, 30);
      const advantages = tokens.inputs["advantages"]!.map(
        (value, i) => value * tokens.inputs["weights"]![i]!,
      );
      const bounds = { clip_low_threshold: 0.5, clip_high_threshold: 1.1 };
      const plain = lossOf("cispo", changed(tokens, { advantages }), bounds);
      expect(largestGap(lossOf("weighted_cispo", tokens, bounds).gradient, plain.gradient)).toBeLessThan(
        1e-12,
      );
    }));

  it.each(["grpo", "weighted_cispo"] as const)("%s() at ratio 1 has REINFORCE's gradient −w A", (name) =>
    law((seed) => {
      const tokens = randomTokens(seed, 30);
      const { gradient } = lossOf(name, changed(tokens, { logprobs: tokens.trainingLogprobs }));
      const expected = tokens.inputs["advantages"]!.map((value, i) => -value * tokens.inputs["weights"]![i]!);
      expect(largestGap(gradient, expected)).toBeLessThan(1e-12);
    }),
  );

  it("rloo() at ratio 1 has REINFORCE's gradient on sequences: Σ w A at each of its tokens", () =>
    law((seed) => {
      const tokens = randomTokens(seed, 30);
      const { gradient } = lossOf("rloo", changed(tokens, { logprobs: tokens.trainingLogprobs }));
      const { advantages, weights } = tokens.inputs;
      const sums = [0, 1, 2].map((sequence) =>
        advantages!.reduce(
          (sum, value, i) => sum + (tokens.sequences[i] === sequence ? value * weights![i]! : 0),
          0,
        ),
      );
      const expected = weights!.map((weight, i) => (weight === 0 ? 0 : -sums[tokens.sequences[i]!]!));
      expect(largestGap(gradient, expected)).toBeLessThan(1e-12);
    }));

  it("gspo() of sequences of one token is grpo()", () =>
    law((seed) => {
      const drawn = randomTokens(seed, 30);
      const tokens = { ...drawn, sequences: drawn.sequences.map((_, i) => i) };
      const bounds = { clip_low_threshold: 0.8, clip_high_threshold: 1.2, ...everything };
      const [one, other] = [lossOf("gspo", tokens, bounds), lossOf("grpo", tokens, bounds)];
      expect(one.loss).toBeCloseTo(other.loss, 12);
      expect(largestGap(one.gradient, other.gradient)).toBeLessThan(1e-12);
    }));

  it.each(OURS)("%s() with advantages 0 has gradient 0", (name) =>
    law((seed) => {
      const tokens = randomTokens(seed, 20);
      const silent = changed(tokens, { advantages: tokens.trainingLogprobs.map(() => 0) });
      expect(lossOf(name, silent).gradient.every((value) => value === 0)).toBe(true);
    }),
  );

  it.each(OURS)("%s() at the reference has no gradient from k2 and k3", (name) =>
    law((seed) => {
      const tokens = randomTokens(seed, 20);
      const at = changed(tokens, {
        reference_logprobs: tokens.trainingLogprobs,
        advantages: tokens.trainingLogprobs.map(() => 0),
      });
      for (const kl_estimator of [2, 3])
        expect(
          largestGap(lossOf(name, at, { kl_coef: 1, kl_estimator }).gradient, new Float64Array(20)),
        ).toBeLessThan(1e-15);
    }),
  );

  it.each(OURS)("%s(): masked tokens have no influence, whatever stands there", (name) =>
    law((seed) => {
      const tokens = randomTokens(seed, 30);
      const { weights } = tokens.inputs;
      const stirred = (values: readonly number[]): number[] =>
        values.map((value, i) => (weights![i] === 0 ? value - 1.5 : value));
      const other: Tokens = {
        ...tokens,
        trainingLogprobs: stirred(tokens.trainingLogprobs),
        entropies: stirred(tokens.entropies),
        inputs: Object.fromEntries(
          Object.entries(tokens.inputs).map(([key, values]) => [
            key,
            key === "weights" ? values : stirred(values),
          ]),
        ),
      };
      const [before, after] = [lossOf(name, tokens, everything), lossOf(name, other, everything)];
      expect(after.loss).toBe(before.loss);
      for (const key of ["gradient", "entropyGradient"] as const) {
        expect(largestGap(after[key], before[key])).toBe(0);
        weights!.forEach((weight, i) => {
          if (weight === 0) expect(Math.abs(after[key][i]!)).toBe(0);
        });
      }
    }),
  );

  it.each(OURS)("%s() is a sum over sequences: their order does not matter, and halves add up", (name) =>
    law((seed) => {
      const tokens = randomTokens(seed, 30);
      const taken = (sequences: readonly number[]): number[] =>
        sequences.flatMap((sequence) => tokens.sequences.flatMap((own, i) => (own === sequence ? [i] : [])));
      const pick = (sequences: readonly number[]): Tokens => {
        const at = (values: readonly number[]): number[] => taken(sequences).map((i) => values[i]!);
        return {
          trainingLogprobs: at(tokens.trainingLogprobs),
          entropies: at(tokens.entropies),
          sequences: at(tokens.sequences),
          inputs: Object.fromEntries(Object.entries(tokens.inputs).map(([key, values]) => [key, at(values)])),
        };
      };
      const whole = lossOf(name, tokens, everything);
      const mixed = lossOf(name, pick([2, 0, 1]), everything);
      expect(mixed.loss).toBeCloseTo(whole.loss, 11);
      const expected = taken([2, 0, 1]).map((i) => whole.gradient[i]!);
      expect(largestGap(mixed.gradient, expected)).toBeLessThan(1e-12);
      const parts = [[0], [1, 2]].map((part) => lossOf(name, pick(part), everything).loss);
      expect(parts[0]! + parts[1]!).toBeCloseTo(whole.loss, 11);
    }),
  );

  // weighted_cispo holds its weight constant: the law above ties it to cispo.
  it.each(OURS.filter((name) => name !== "weighted_cispo"))(
    "%s() differentiates to its central difference",
    (name) => {
      for (const kl_estimator of [1, 2, 3]) {
        const tokens = randomTokens(31 + kl_estimator, 30);
        const { elementwise, logprobs, entropy_S, arrays } = graphOf(name, tokens, {
          ...everything,
          kl_estimator,
          delta: 1.4,
        });
        const wrt = { trainingLogprobs: logprobs, entropies: entropy_S };
        expect(graph.relativeGap(graph.checkGradient(graph.sumAll(elementwise), wrt, arrays))).toBeLessThan(
          1e-6,
        );
      }
    },
  );
});

/** Random datums with everything that any loss reads; the first two positions are a prompt. */
function policyDatums(seed: number, lossFn: LossFnName, lengths: readonly number[]): Datum[] {
  const random = new Random(seed);
  return lengths.map((length) => {
    const draw = (value: () => number): number[] => Array.from({ length }, (_, i) => (i < 2 ? 0 : value()));
    const values: Readonly<Record<string, number[]>> = {
      logprobs: draw(() => -3 - random.uniform()),
      advantages: draw(() => random.normal()),
      weights: draw(() => (random.uniform() < 0.2 ? 0 : 0.05)),
      reference_logprobs: draw(() => -3 - random.uniform()),
      entropy_weights: draw(() => 0.02),
      nll_weights: draw(() => 0.03),
      labels: [length % 2],
      kl: [0.3],
    };
    const ids = (): number[] => Array.from({ length }, () => random.integer(TINY_CONFIG.vocab_size));
    return {
      modelInput: modelInputFromTokens(ids()),
      lossFnInputs: {
        target_tokens: { data: ids(), dtype: "int64" },
        ...Object.fromEntries(
          LOSSES[lossFn].inputs.map((name) => [name, { data: values[name]!, dtype: "float32" as const }]),
        ),
      },
    };
  });
}

describe("on the engine", () => {
  const folder = temporaryFolder();
  const model = { config: TINY_CONFIG, seed: 3 };
  const gradientsOf = (engine: TrainingEngine) =>
    takeGradients(engine, mkdtempSync(join(folder, "gradients-"))).gradients;

  it.each(LossFnName.options.filter((name) => LOSSES[name].reads !== "scores"))(
    "%s in two passes is the fused form: loss, gradients and metrics",
    async (lossFn) => {
      const engine = await TrainingEngine.create({ model });
      const data = policyDatums(5, lossFn, [9, 6, 12, 3]);
      const known = LOSSES[lossFn].defaults;
      const lossFnConfig: LossFnConfig = "kl_coef" in known ? { kl_coef: 0.1 } : {};
      for (const temperature of [1, 0.8]) {
        const fused = await engine.forwardBackward(data, lossFn, { lossFnConfig, temperature });
        const expected = gradientsOf(engine);
        const twice = await forwardBackwardInTwoPasses(engine, data, lossFn, { lossFnConfig, temperature });
        expect(largestRelativeGap(gradientsOf(engine), expected)).toBeLessThan(1e-5);
        for (const [datum, outputs] of fused.lossFnOutputs.entries())
          for (const name of ["logprobs", "elementwise_loss"])
            expect(
              largestGap(twice.lossFnOutputs[datum]![name]!.data, outputs[name]!.data),
              name,
            ).toBeLessThan(1e-5);
        const { "entropy:mean": _entropy, ...others } = fused.metrics;
        expect(Object.keys(twice.metrics).sort()).toEqual(Object.keys(others).sort());
        for (const [name, value] of Object.entries(others))
          expect(Math.abs(twice.metrics[name]! - value), name).toBeLessThan(
            2e-5 * Math.max(1, Math.abs(value)),
          );
      }
      await engine.close();
    },
  );

  it("twoPassClient() teaches a client that knows Tinker's losses alone", async () => {
    const engine = await TrainingEngine.create({ model });
    const called: string[] = [];
    const tinker = {
      forward: (...given: Parameters<TrainingEngine["forward"]>) => engine.forward(...given),
      forwardBackward: (...given: Parameters<TrainingEngine["forwardBackward"]>) => {
        called.push(given[1]);
        return engine.forwardBackward(...given);
      },
    } as unknown as TrainingClient; // the two calls that are made
    const client = twoPassClient(tinker, ["grpo"]);
    await client.forwardBackward(policyDatums(6, "grpo", [5]), "grpo");
    await client.forwardBackward(policyDatums(6, "ppo", [5]), "ppo");
    expect(called).toEqual(["cross_entropy", "ppo"]);
    await engine.close();
  });

  it("two passes refuse an entropy bonus, for forward reports no entropy", async () => {
    const engine = await TrainingEngine.create({ model });
    const options = { lossFnConfig: { entropy_coef: 0.1 } };
    await expect(
      forwardBackwardInTwoPasses(engine, policyDatums(7, "grpo", [5]), "grpo", options),
    ).rejects.toThrow(
      new UserError(
        'Cannot train with "grpo" in two passes: with this config it depends on the entropy, expected a loss of logprobs alone. Set entropy_coef to 0, or train on the embedded engine',
      ),
    );
    await engine.close();
  });

  it.each(OURS)(
    "%s: micro-batches and gradient checkpointing change no gradient and no metric",
    async (lossFn) => {
      const data = policyDatums(8, lossFn, [9, 6, 12, 7, 5]);
      const results = [];
      for (const options of [{}, { microBatchTokens: 13 }, { gradientCheckpointing: true }]) {
        const engine = await TrainingEngine.create({ model, ...options });
        const { metrics } = await engine.forwardBackward(data, lossFn, { lossFnConfig: everything });
        results.push({ metrics, gradients: gradientsOf(engine) });
        await engine.close();
      }
      for (const { metrics, gradients } of results.slice(1)) {
        expect(largestRelativeGap(gradients, results[0]!.gradients)).toBeLessThan(1e-5);
        for (const [name, value] of Object.entries(results[0]!.metrics))
          expect(Math.abs(metrics[name]! - value), name).toBeLessThan(1e-5);
      }
    },
  );
});
