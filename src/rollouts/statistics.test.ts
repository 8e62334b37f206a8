/** A batch's numbers and a trajectory's record, by hand. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, it } from "vitest";
import { invalidReward, rewardOf } from "../rewards/index.js";
import { createTokenizer } from "../text/index.js";
import { rolloutRecord } from "./record.js";
import { hasZeroVariance, rewardValue, sampledTokenCount } from "./statistics.js";
import type { Trajectory } from "./trajectory.js";

function trajectory(reward: Trajectory["reward"], sampledTokens: number, isTruncated = false): Trajectory {
  const length = 2 + sampledTokens;
  return {
    taskId: "t",
    tags: { level: "easy" },
    sample: 0,
    seed: 9,
    tokens_T: Array.from({ length }, () => 1),
    spans: [
      { source: "prompt", start: 0, end: 2 },
      { source: "sampled", start: 2, end: length },
    ],
    logprobs_T: Array.from({ length }, () => 0),
    rawLogprobs_T: Array.from({ length }, () => 0),
    turns: [{ text: "x", stopReason: isTruncated ? "length" : "stop", reward, metrics: { correct: 1 } }],
    isTruncated,
    reward,
  };
}
const earned = (score: number) => rewardOf([{ name: "execution", score, weight: 0.5 }]);

it("rewardValue() is the reward, NaN where it is invalid; sampledTokenCount() leaves out what others wrote", () => {
  expect(rewardValue(trajectory(earned(1), 4))).toBe(0.5);
  expect(rewardValue(trajectory(invalidReward("x", "sandbox"), 4))).toBeNaN();
  expect(sampledTokenCount(trajectory(earned(0), 8, true))).toBe(8);
});

it("hasZeroVariance() looks at valid rewards alone", () => {
  const group = (...rewards: readonly Trajectory["reward"][]) => ({
    taskId: "a",
    trajectories: rewards.map((reward) => trajectory(reward, 1)),
  });
  expect(hasZeroVariance(group(earned(1), invalidReward("x")))).toBe(true);
  expect(hasZeroVariance(group(earned(1), earned(0)))).toBe(false);
  expect(hasZeroVariance(group(invalidReward("x")))).toBe(true);
});

it("rolloutRecord() tells every span's text, and where and why an episode failed", () => {
  const path = join(resolve(import.meta.dirname, "../../tests/golden/tokenizers"), "small/tokenizer.json");
  const tokenizer = createTokenizer(JSON.parse(readFileSync(path, "utf8")));
  const [prompt, said] = [tokenizer.encode("2+2?"), tokenizer.encode(" the answer")];
  const right: Trajectory = {
    ...trajectory(earned(1), 0),
    tokens_T: [...prompt, ...said],
    spans: [
      { source: "prompt", start: 0, end: prompt.length },
      { source: "sampled", start: prompt.length, end: prompt.length + said.length },
    ],
  };
  const record = rolloutRecord(right, { step: 3, tokenizer });
  expect(record.spans.map(({ source, text }) => [source, text])).toEqual([
    ["prompt", "2+2?"],
    ["sampled", " the answer"],
  ]);
  expect(record).toMatchObject({
    step: 3,
    taskId: "t",
    reward: 0.5,
    invalid: null,
    components: [{ name: "execution", score: 1, weight: 0.5 }],
    turns: [{ stopReason: "stop", reward: 0.5, metrics: { correct: 1 } }],
  });
  const failed = {
    ...right,
    reward: invalidReward("gone"),
    failure: { boundary: "env" as const, message: "gone" },
  };
  expect(rolloutRecord(failed, { step: 3, tokenizer })).toMatchObject({
    reward: null,
    invalid: { boundary: "env", reason: "gone" },
    components: [],
  });
});
