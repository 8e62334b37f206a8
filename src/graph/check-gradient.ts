/** Central differences in float64 against a gradient graph; exported for the tests of losses/ and nn/. */
import { Random } from "../base/index.js";
import { gradient } from "./gradient.js";
import type { ReferenceArray, Value } from "./graph.js";
import { evaluate } from "./reference.js";

export interface GradientCheck {
  /** Σ gradient · direction by reverse mode. */
  readonly analytic: number;
  /** (f(x + h·direction) − f(x − h·direction)) / 2h. */
  readonly numeric: number;
}

/** Compares d `output` / d `wrt` along one random direction. `inputs` holds every graph input by name. */
export function checkGradient(
  output: Value,
  wrt: Readonly<Record<string, Value>>,
  inputs: Readonly<Record<string, ReferenceArray>>,
  { seed = 0, step = 1e-5 }: { readonly seed?: number; readonly step?: number } = {},
): GradientCheck {
  const random = new Random(seed);
  const names = Object.keys(wrt);
  const directions = names.map((name) => inputs[name]!.data.map(() => random.normal()));
  const grads = evaluate(
    { outputs: Object.fromEntries(gradient(output, Object.values(wrt)).map((grad, i) => [names[i]!, grad])) },
    inputs,
  );
  const analytic = names.reduce(
    (total, name, i) =>
      total + grads[name]!.data.reduce((sum, grad, j) => sum + grad * directions[i]![j]!, 0),
    0,
  );
  const at = (sign: number): number => {
    const moved = names.map((name, i): [string, ReferenceArray] => [
      name,
      {
        shape: inputs[name]!.shape,
        data: inputs[name]!.data.map((value, j) => value + sign * step * directions[i]![j]!),
      },
    ]);
    return evaluate({ outputs: { output } }, { ...inputs, ...Object.fromEntries(moved) })["output"]!.data[0]!;
  };
  return { analytic, numeric: (at(1) - at(-1)) / (2 * step) };
}

/** |analytic − numeric| relative to the larger of the two, or absolute where both are small. */
export function relativeGap({ analytic, numeric }: GradientCheck): number {
  return Math.abs(analytic - numeric) / Math.max(1e-3, Math.abs(analytic), Math.abs(numeric));
}
