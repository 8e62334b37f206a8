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
  new Random(seed).fork(name).fillNormal(values, config.initializerRange);
}
