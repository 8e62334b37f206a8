import { expect, it } from "vitest";
import { invalidReward, rewardOf } from "../../rewards/index.js";
import { referenceParity, rewardOrder, samplerParity } from "./index.js";

const worth = (score: number) => rewardOf([{ name: "right", score, weight: 1 }]);

it("sampler parity takes the largest gap, or the mean where the sampler is quantised", () => {
  const pairs = { samplingLogprobs_T: [-1, -2, -0.5], trainingLogprobs_T: [-1, -2.03, -0.5] };
  expect(samplerParity(pairs, { tolerance: 0.02, statistic: "max" })).toMatchObject({
    passed: false,
    limit: 0.02,
  });
  const mean = samplerParity(pairs, { tolerance: 0.02, statistic: "mean" });
  expect(mean.passed).toBe(true);
  expect(mean.measured).toBeCloseTo(0.01, 12);
  expect(mean.reason).toBe(
    "logprobs of sampler and trainer differ by 1.00e-2 nats (mean over 3 sampled tokens), within 0.02",
  );
});

it("a logprob that is no number fails the check, it does not slip through", () => {
  for (const statistic of ["max", "mean"] as const) {
    const pairs = { samplingLogprobs_T: [-1, Number.NaN], trainingLogprobs_T: [-1, -1] };
    expect(samplerParity(pairs, { tolerance: 1, statistic }).passed).toBe(false);
  }
});

it("reference parity is the mean gap between policy and reference", () => {
  const same = { trainingLogprobs_T: [-1, -2], referenceLogprobs_T: [-1, -2] };
  expect(referenceParity(same, { tolerance: 1e-6 })).toMatchObject({ passed: true, measured: 0 });
  const other = { trainingLogprobs_T: [-1, -2], referenceLogprobs_T: [-1.5, -1.5] };
  expect(referenceParity(other, { tolerance: 0.1 })).toMatchObject({ passed: false, measured: 0.5 });
});

it("the reward must put gold above an empty answer on every task", () => {
  const good = { taskId: "a", gold: worth(1), empty: worth(0) };
  expect(rewardOrder([good])).toMatchObject({ passed: true, measured: 1 });
  const equal = rewardOrder([good, { taskId: "b", gold: worth(0.5), empty: worth(0.5) }]);
  expect(equal).toMatchObject({ passed: false, measured: 0.5 });
  expect(equal.reason).toContain('task "b": gold scores 0.5, an empty answer 0.5');
  const broken = rewardOrder([{ taskId: "c", gold: invalidReward("no such table"), empty: worth(0) }]);
  expect(broken.reason).toContain("the gold answer's reward is invalid (no such table)");
  expect(rewardOrder([{ ...good, empty: invalidReward("nothing to grade") }]).passed).toBe(true);
  expect(rewardOrder([]).passed).toBe(false);
});
