/** Logprobs of what a policy said, under a training client: of the policy itself, or of the reference. */
import { zip } from "../base/index.js";
import { type LossOptions, nextTokenDatum, type TrainingClient } from "../protocol/index.js";
import type { Trajectory } from "../rollouts/index.js";

/** 1 at the tokens that the policy wrote, else 0. */
export function sampledMask({ tokens_T, spans }: Trajectory): number[] {
  const mask_T = new Array<number>(tokens_T.length).fill(0);
  for (const { source, start, end } of spans) if (source === "sampled") mask_T.fill(1, start, end);
  return mask_T;
}

/** For each trajectory, one logprob per token of it; 0 where it was not sampled. */
export async function trajectoryLogprobs(
  client: Pick<TrainingClient, "forward">,
  trajectories: readonly Trajectory[],
  options: Pick<LossOptions, "temperature" | "withoutAdapter" | "signal"> = {},
): Promise<number[][]> {
  const masks = trajectories.map(sampledMask);
  const datums = zip(trajectories, masks).map(([{ tokens_T }, mask_T]) => nextTokenDatum(tokens_T, mask_T));
  const { lossFnOutputs } = await client.forward(datums, "cross_entropy", {
    supervisedOnly: true,
    ...options,
  });
  return zip(masks, lossFnOutputs, "trajectories and outputs").map(([mask_T, outputs]) => {
    const targets_T = outputs["logprobs"]?.data;
    if (targets_T === undefined) {
      throw new Error("Cannot read logprobs: the client gave none, expected one per target token");
    }
    // Target i is token i + 1.
    return mask_T.map((bit, t) => (bit === 0 ? 0 : targets_T[t - 1]!));
  });
}
