import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../../base/index.js";
import { type AdamwStep, clipCoefficient, createParameterArena, type ParameterArena } from "./index.js";

const HYPERPARAMETERS = { learningRate: 0.1, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 };

/** AdamW as the paper's algorithm 2 reads, on plain float64 numbers: the independent source. */
function referenceStep(state: { p: number; m: number; v: number }, gradient: number, o: AdamwStep): void {
  const g = gradient * (o.gradientScale ?? 1);
  state.m = o.beta1 * state.m + (1 - o.beta1) * g;
  state.v = o.beta2 * state.v + (1 - o.beta2) * g * g;
  const mHat = state.m / (1 - o.beta1 ** o.step);
  const vHat = state.v / (1 - o.beta2 ** o.step);
  state.p =
    state.p * (1 - o.learningRate * o.weightDecay) - (o.learningRate * mHat) / (Math.sqrt(vHat) + o.eps);
}

function fillNormal(arrays: readonly Float32Array[], random: Random, scale: number): void {
  for (const array of arrays) for (let i = 0; i < array.length; i++) array[i] = random.normal() * scale;
}

function bytesOf(array: Float32Array): string {
  return Buffer.from(array.buffer, array.byteOffset, array.byteLength).toString("base64");
}

describe("adamwStep", () => {
  it("gives the hand-computed first step, with eps added to the corrected root", () => {
    const arena = createParameterArena([2]);
    arena.parameters[0]!.set([1, -2]);
    arena.gradients[0]!.set([0.5, -4]);
    arena.adamwStep({ ...HYPERPARAMETERS, eps: 0.5, step: 1 });
    // m̂ = g and √v̂ = |g|, so p ← 0.999 p − 0.1·g/(|g| + 0.5)
    expect(arena.parameters[0]![0]).toBeCloseTo(0.999 - 0.05, 6);
    expect(arena.parameters[0]![1]).toBeCloseTo(-1.998 + 0.4 / 4.5, 6);
    expect(arena.firstMoments[0]![0]).toBeCloseTo(0.05, 7);
    expect(arena.secondMoments[0]![1]).toBeCloseTo(0.016, 7);
    expect([...arena.gradients[0]!]).toEqual([0.5, -4]);
  });

  it("gives the hand-computed second step, with both corrections of t = 2", () => {
    const arena = createParameterArena([1]);
    arena.gradients[0]!.fill(1);
    arena.adamwStep({ ...HYPERPARAMETERS, weightDecay: 0, step: 1 });
    arena.gradients[0]!.fill(3);
    arena.adamwStep({ ...HYPERPARAMETERS, weightDecay: 0, step: 2 });
    // m = 0.9·0.1 + 0.1·3 = 0.39, v = 0.999·0.001 + 0.001·9 = 0.009999
    const second = (0.1 * (0.39 / 0.19)) / Math.sqrt(0.009999 / 0.001999);
    expect(arena.parameters[0]![0]).toBeCloseTo(-0.1 - second, 6);
  });

  it("stays within 1e-5 of float64 over 20 steps, for every length around the kernel's stride", () => {
    const sizes = [1, 3, 4, 15, 16, 17, 63, 64, 65, 1000];
    const arena = createParameterArena(sizes);
    const random = new Random(1);
    fillNormal(arena.parameters, random, 1);
    const states = arena.parameters.map((array) => Array.from(array, (p) => ({ p, m: 0, v: 0 })));
    for (let step = 1; step <= 20; step++) {
      fillNormal(arena.gradients, random, 10 ** -(step % 5));
      const options = {
        learningRate: 0.01 / step,
        beta1: 0.9,
        beta2: 0.95,
        eps: 1e-12,
        weightDecay: 0.1,
        step,
      };
      const scaled = { ...options, gradientScale: 0.37 };
      states.forEach((parameter, i) => {
        parameter.forEach((state, j) => {
          referenceStep(state, arena.gradients[i]![j]!, scaled);
        });
      });
      arena.adamwStep(scaled);
    }
    let worst = 0;
    states.forEach((parameter, i) => {
      parameter.forEach(({ p, m, v }, j) => {
        worst = Math.max(worst, Math.abs(arena.parameters[i]![j]! - p));
        expect(arena.firstMoments[i]![j]).toBeCloseTo(m, 6);
        expect(arena.secondMoments[i]![j]).toBeCloseTo(v, 6);
      });
    });
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThan(1e-5);
  });

  it("gives the same bits in two runs, and however the parameters are spread over memories", () => {
    const sizes = [300_000, 7, 20_000, 41];
    const run = (maxMemoryBytes: number): ParameterArena => {
      const arena = createParameterArena(sizes, { maxMemoryBytes });
      const random = new Random(7);
      fillNormal(arena.parameters, random, 1);
      for (let step = 1; step <= 3; step++) {
        fillNormal(arena.gradients, random, 0.1);
        const gradientScale = clipCoefficient(Math.sqrt(arena.sumOfSquares()), 1);
        arena.adamwStep({ ...HYPERPARAMETERS, step, gradientScale });
      }
      return arena;
    };
    const [first, second, spread] = [run(3.5e9), run(3.5e9), run(5.0e6)];
    expect(second.sumOfSquares()).toBe(first.sumOfSquares());
    expect(new Set(spread.parameters.map((array) => array.buffer)).size).toBe(2);
    for (const arrays of ["parameters", "firstMoments", "secondMoments"] as const) {
      expect(second[arrays].map(bytesOf)).toEqual(first[arrays].map(bytesOf));
    }
    spread.parameters.forEach((array, i) => {
      for (let j = 0; j < array.length; j += 37) expect(array[j]).toBeCloseTo(first.parameters[i]![j]!, 5);
    });
  });

  it("finds the minimum of a badly scaled quadratic", () => {
    const arena = createParameterArena([8]);
    const [parameters, gradients] = [arena.parameters[0]!, arena.gradients[0]!];
    for (let step = 1; step <= 2000; step++) {
      for (let i = 0; i < 8; i++) gradients[i] = 10 ** (i - 4) * (parameters[i]! - i);
      const learningRate = 0.1 * (1 - step / 2001);
      arena.adamwStep({ learningRate, beta1: 0.9, beta2: 0.99, eps: 1e-12, weightDecay: 0, step });
    }
    parameters.forEach((value, i) => {
      expect(value).toBeCloseTo(i, 3);
    });
  });

  it("leaves idle weights alone: no gradient, no decay, no change, even with Tinker's eps of 1e-12", () => {
    const arena = createParameterArena([20]);
    arena.parameters[0]!.fill(3);
    arena.adamwStep({ ...HYPERPARAMETERS, eps: 1e-12, weightDecay: 0, step: 1 });
    expect(arena.parameters[0]!.every((value) => value === 3)).toBe(true);
  });

  it.each([
    [{ step: 0 }, "Cannot take AdamW step 0: expected an integer, 1 for the first step"],
    [{ step: 1.5 }, "Cannot take AdamW step 1.5: expected an integer"],
    [{ step: 1, eps: 1e-60 }, "eps is 1e-60, expected at least 1e-45"],
  ])("refuses %o", (options, message) => {
    expect(() => createParameterArena([1]).adamwStep({ ...HYPERPARAMETERS, ...options })).toThrow(message);
  });
});

describe("createParameterArena", () => {
  it("hands out aligned arrays of zeros that do not overlap and keep their memory", () => {
    const sizes = [5, 16, 1, 40_000, 3];
    const arena = createParameterArena(sizes, { maxMemoryBytes: 800_000 });
    const all = [arena.parameters, arena.gradients, arena.firstMoments, arena.secondMoments].flat();
    expect(all.map((array) => array.length)).toEqual([...sizes, ...sizes, ...sizes, ...sizes]);
    expect(all.every((array) => array.byteOffset % 64 === 0 && array.every((value) => value === 0))).toBe(
      true,
    );
    all.forEach((array, i) => {
      array.fill(i + 1);
    });
    arena.adamwStep({ ...HYPERPARAMETERS, learningRate: 0, beta1: 0, beta2: 0, step: 1 });
    arena.gradients.forEach((array, i) => {
      expect(array.every((value) => value === sizes.length + i + 1)).toBe(true);
    });
    arena.parameters.forEach((array, i) => {
      expect(array.every((value) => value === i + 1)).toBe(true);
    });
  });

  it("refuses a parameter that cannot fit one memory, and sizes that are none", () => {
    expect(() => createParameterArena([8, 545_000_000])).toThrow(
      "Cannot train parameter 1: its 545000000 elements need 8.7 GB with gradient and optimizer state, expected at most 3.5 GB",
    );
    expect(() => createParameterArena([8, 0])).toThrow(
      "size of parameter 1 is 0, expected a positive integer",
    );
  });
});

describe("sumOfSquares and hasNonFinite", () => {
  it("adds in float64: 1 beside 2²⁴ ones is not lost, and squares beyond float32 do not overflow", () => {
    const arena = createParameterArena([3, 1_500_000]);
    arena.gradients[0]!.set([1e30, 0, 0]);
    expect(arena.sumOfSquares()).toBeCloseTo(Math.fround(1e30) ** 2, -50);
    arena.gradients[0]!.set([4096, 0, 1e-3]);
    arena.gradients[1]!.fill(1);
    expect(arena.sumOfSquares()).toBeCloseTo(4096 ** 2 + 1_500_000 + 1e-6, 8);
  });

  it("equals the plain sum of random gradients, and sees nothing but gradients", () => {
    const arena = createParameterArena([1, 17, 290_000, 64]);
    fillNormal(arena.gradients, new Random(3), 2);
    fillNormal(arena.parameters, new Random(4), 1000);
    let expected = 0;
    for (const gradient of arena.gradients) for (const value of gradient) expected += value * value;
    expect(Math.abs(arena.sumOfSquares() / expected - 1)).toBeLessThan(1e-12);
  });

  it("notices one NaN or infinity wherever it hides", () => {
    const arena = createParameterArena([70, 262_145]);
    fc.assert(
      fc.property(
        fc.constantFrom(0, 1),
        fc.nat({ max: 262_144 }),
        fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
        (which, place, value) => {
          const gradient = arena.gradients[which]!;
          const index = place % gradient.length;
          gradient[index] = value;
          const noticed = arena.hasNonFinite();
          gradient[index] = 3e38;
          return noticed && !arena.hasNonFinite();
        },
      ),
    );
  });
});

describe("accumulate and zeroGradients", () => {
  it("adds arrays from outside and inside, whole or in part, at any alignment", () => {
    const arena = createParameterArena([40_003, 9]);
    const target = arena.gradients[0]!;
    const outside = Float32Array.from({ length: 40_003 }, (_, i) => i % 1000);
    arena.accumulate(target, outside);
    arena.accumulate(target, outside);
    arena.parameters[0]!.fill(0.5);
    arena.accumulate(target, arena.parameters[0]!);
    fc.assert(
      fc.property(fc.nat(40_002), fc.nat(40_003), fc.nat(3), (a, b, shift) => {
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const before = target.slice();
        const inside = arena.parameters[0]!.subarray(shift, shift + to - from);
        fc.pre(inside.length === to - from);
        arena.accumulate(target.subarray(from, to), inside);
        return target.every((value, i) => value === before[i]! + (i >= from && i < to ? 0.5 : 0));
      }),
      { numRuns: 30 },
    );
    expect([...arena.gradients[1]!]).toEqual(new Array(9).fill(0));
    arena.zeroGradients();
    arena.accumulate(target, outside);
    expect(target).toEqual(outside);
    expect(arena.parameters[0]!.every((value) => value === 0.5)).toBe(true);
  });

  it("reaches addresses beyond 2 GB", () => {
    const arena = createParameterArena([200_000_000]); // only the pages touched are ever backed by memory
    const moments = arena.firstMoments[0]!;
    const boundary = (2 ** 31 - moments.byteOffset) / 4;
    for (const from of [boundary - 32, boundary + 64]) {
      const target = moments.subarray(from, from + 64);
      arena.accumulate(target, new Float32Array(64).fill(1));
      arena.accumulate(target, target);
      expect([...target]).toEqual(new Array(64).fill(2));
    }
  });

  it("refuses arrays of another arena and unequal lengths", () => {
    const arena = createParameterArena([4]);
    expect(() => arena.accumulate(new Float32Array(4), new Float32Array(4))).toThrow(
      "target is not in this arena",
    );
    expect(() => arena.accumulate(arena.gradients[0]!, new Float32Array(5))).toThrow(
      "target has 4 elements and source 5, expected equal",
    );
  });
});

describe("clipCoefficient", () => {
  it("is torch's: max/(norm + 1e-6), never above 1, and off at 0", () => {
    expect(clipCoefficient(5, 1)).toBe(1 / 5.000001);
    expect(clipCoefficient(1, 1)).toBe(1 / 1.000001);
    expect(clipCoefficient(0.5, 1)).toBe(1);
    expect(clipCoefficient(1e9, 0)).toBe(1);
    expect(clipCoefficient(0, 1)).toBe(1);
  });

  it("refuses a norm that is not finite", () => {
    expect(() => clipCoefficient(Number.NaN, 1)).toThrow("their norm is NaN, expected a finite number");
    expect(() => clipCoefficient(Number.POSITIVE_INFINITY, 0)).toThrow("Infinity");
  });
});
