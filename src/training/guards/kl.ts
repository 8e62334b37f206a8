/** The policy runs away from the reference. Measured only where the loss has a KL term or `kl` is asked for. */
import type { Guard } from "./guard.js";

export const klGuard: Guard = {
  name: "kl",
  defaults: { warn: 0.2, limit: 1, action: "roll_back", patience: 3 },
  side: "above",
  measure: ({ kl }) => kl,
  describe: (value) => `KL to the reference is ${value.toPrecision(3)} nats per token`,
  remedy: "Raise beta or lower learningRate",
};
