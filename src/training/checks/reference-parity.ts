/**
 * Before the first update the policy is the reference: their KL must be 0. If it is not, the reference is another
 * model (a wrong folder, a dropped adapter), and the KL term would pull towards that.
 *
 *     mean_t |log π_θ(y_t) − log π_ref(y_t)| ≤ tolerance
 */
import { mean, zip } from "../../base/index.js";
import type { CheckResult } from "./check.js";

export function referenceParity(
  {
    trainingLogprobs_T,
    referenceLogprobs_T,
  }: { readonly trainingLogprobs_T: readonly number[]; readonly referenceLogprobs_T: readonly number[] },
  { tolerance }: { readonly tolerance: number },
): CheckResult {
  const measured = mean(
    zip(trainingLogprobs_T, referenceLogprobs_T, "logprobs of policy and reference").map(
      ([policy, reference]) => Math.abs(policy - reference),
    ),
  );
  const passed = measured <= tolerance;
  return {
    name: "reference_parity",
    passed,
    measured,
    limit: tolerance,
    reason: `logprobs of policy and reference differ by ${measured.toExponential(2)} nats on average over ${trainingLogprobs_T.length} tokens, ${passed ? "within" : "expected at most"} ${tolerance} before the first update`,
  };
}
