/**
 * AdamW's arithmetic: the per-step constants and the kernel that updates four floats at a time in one pass over memory.
 * Knows addresses, not tensors.
 */
import { doWhile, f32x4, i32, v128, type WasmFunction, wasmFunction } from "./wasm-assembler.js";

/** Hyperparameters of one update. `step` counts from 1; `gradientScale` multiplies every gradient first. */
export interface AdamwStep {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  readonly step: number;
  /** Clipping, and averaging over tokens, as one factor. @default 1 */
  readonly gradientScale?: number;
}

/** The factors of the kernel, in the order of its parameters. All are rounded to float32 when it is called. */
export interface AdamwFactors {
  readonly gradientScale: number;
  readonly oneMinusBeta1: number;
  readonly beta2: number;
  readonly oneMinusBeta2: number;
  readonly inverseRootCorrection2: number;
  readonly eps: number;
  readonly stepSize: number;
  readonly decay: number;
}

/**
 * The constants of step t, computed in float64.
 *
 *     g ← gradientScale·g
 *     m ← m + (1 − β₁)(g − m)          v ← β₂·v + (1 − β₂)·g²
 *     p ← p(1 − lr·wd) − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + eps)
 *
 * Paper: arXiv:1711.05101, algorithm 2 with the schedule multiplier inside lr, which is what torch.optim.AdamW does;
 * operations are in torch's order, so results differ from it by rounding alone.
 * @throws RangeError when `step` is below 1 or `eps` is 0 in float32, where 0/0 would make every idle weight NaN.
 */
export function adamwFactors(options: AdamwStep): AdamwFactors {
  const { learningRate, beta1, beta2, eps, weightDecay, step, gradientScale = 1 } = options;
  if (!Number.isInteger(step) || step < 1) {
    throw new RangeError(`Cannot take AdamW step ${step}: expected an integer, 1 for the first step`);
  }
  if (!(Math.fround(eps) > 0)) {
    throw new RangeError(`Cannot take AdamW step ${step}: eps is ${eps}, expected at least 1e-45 (float32)`);
  }
  return {
    gradientScale,
    oneMinusBeta1: 1 - beta1,
    beta2,
    oneMinusBeta2: 1 - beta2,
    inverseRootCorrection2: 1 / Math.sqrt(1 - beta2 ** step),
    eps,
    stepSize: learningRate / (1 - beta1 ** step),
    decay: 1 - learningRate * weightDecay,
  };
}

/** Bytes that one pass of every kernel's loop covers; regions are multiples of it. */
export const KERNEL_STRIDE_BYTES = 64;

/** `adamw(p, g, m, v, end, ...factors)`: the update of `p` up to `end`, with `g`, `m` and `v` of the same length. */
export function adamwKernel(): WasmFunction {
  const { add, div, mul, splat, sqrt, sub } = f32x4;
  return wasmFunction(
    {
      parameters: {
        ...{ p: "i32", g: "i32", m: "i32", v: "i32", end: "i32" },
        ...{ gradientScale: "f32", oneMinusBeta1: "f32", beta2: "f32", oneMinusBeta2: "f32" },
        ...{ inverseRootCorrection2: "f32", eps: "f32", stepSize: "f32", decay: "f32" },
      },
      locals: { gradient: "v128", first: "v128", second: "v128" },
    },
    ({ p, g, m, v, end, gradient, first, second, ...factors }) => {
      const lanes = (factor: keyof AdamwFactors) => splat(factors[factor].get);
      const updateFour = (offset: number) => [
        gradient.set(mul(v128.load(g.get, offset), lanes("gradientScale"))),
        first.set(v128.load(m.get, offset)),
        first.set(add(first.get, mul(sub(gradient.get, first.get), lanes("oneMinusBeta1")))),
        second.set(
          add(
            mul(v128.load(v.get, offset), lanes("beta2")),
            mul(mul(gradient.get, gradient.get), lanes("oneMinusBeta2")),
          ),
        ),
        v128.store(m.get, first.get, offset),
        v128.store(v.get, second.get, offset),
        v128.store(
          p.get,
          sub(
            mul(v128.load(p.get, offset), lanes("decay")),
            div(
              mul(first.get, lanes("stepSize")),
              add(mul(sqrt(second.get), lanes("inverseRootCorrection2")), lanes("eps")),
            ),
          ),
          offset,
        ),
      ];
      return [
        doWhile(i32.isBelow(p.get, end.get), [
          ...[0, 16, 32, 48].flatMap(updateFour),
          ...[p, g, m, v].map((pointer) =>
            pointer.set(i32.add(pointer.get, i32.constant(KERNEL_STRIDE_BYTES))),
          ),
        ]),
      ];
    },
  );
}
