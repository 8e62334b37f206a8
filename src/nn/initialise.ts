/** Fresh weights: norms 1, biases 0, matrices normal with the config's standard deviation. */
import { Random } from "../base/index.js";
import type { ModelConfig } from "./model-config.js";
import type { Parameter } from "./parameters.js";

/** Fills one parameter; each has its own stream, so that the order of filling does not matter. */
export function initialiseParameter(
  config: ModelConfig,
  { name, role }: Parameter,
  values: Float32Array,
  seed: number,
): void {
  if (role === "norm" || role === "bias") {
    values.fill(role === "norm" ? 1 : 0);
    return;
  }
  const random = new Random(seed).fork(name);
  for (let i = 0; i < values.length; i += 2) {
    // Both numbers of a Box–Muller pair: half the logarithms for models of a hundred million weights.
    const radius = config.initializerRange * Math.sqrt(-2 * Math.log(1 - random.uniform()));
    const angle = 2 * Math.PI * random.uniform();
    values[i] = radius * Math.cos(angle);
    if (i + 1 < values.length) values[i + 1] = radius * Math.sin(angle);
  }
}
