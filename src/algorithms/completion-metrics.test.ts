import { expect, it } from "vitest";
import { type CompletionFigures, completionMetrics } from "./completion-metrics.js";

const completion = (
  reward: number | null,
  { length = 1, isTruncated = false }: Partial<CompletionFigures> = {},
): CompletionFigures => ({ reward, length, isTruncated });

it("completionMetrics() says what TRL 1.13 says, by its names", () => {
  const metrics = completionMetrics([
    [completion(1, { length: 2 }), completion(0, { length: 9, isTruncated: true })],
    [completion(0.5, { length: 3 }), completion(0.5, { length: 5 })],
  ]);
  expect(metrics).toEqual({
    reward: 0.5,
    // [1, 0, ½, ½] from ½: squares ¼ + ¼, over 3. The mean of the groups' own would be √½ / 2.
    reward_std: expect.closeTo(Math.sqrt(0.5 / 3), 12),
    frac_reward_zero_std: 0.5,
    "completions/mean_length": 4.75,
    "completions/min_length": 2,
    "completions/max_length": 9,
    "completions/clipped_ratio": 0.25,
    "completions/mean_terminated_length": expect.closeTo(10 / 3, 12),
    "completions/min_terminated_length": 2,
    "completions/max_terminated_length": 5,
  });
});

it("completionMetrics() gives 0 for the lengths of those that ended where none did", () => {
  const metrics = completionMetrics([[completion(1, { length: 7, isTruncated: true })]]);
  expect(metrics).toMatchObject({
    "completions/clipped_ratio": 1,
    "completions/mean_terminated_length": 0,
    "completions/min_terminated_length": 0,
    "completions/max_terminated_length": 0,
  });
});

it("completionMetrics() leaves ungraded completions out of rewards alone", () => {
  const metrics = completionMetrics([[completion(1), completion(null, { length: 3 })], [completion(null)]]);
  expect(metrics).toMatchObject({ reward: 1, frac_reward_zero_std: 1, "completions/max_length": 3 });
  const none = completionMetrics([[completion(null)]]);
  expect(Object.keys(none).every((name) => name.startsWith("completions/"))).toBe(true);
  expect(completionMetrics([])).toEqual({});
});
