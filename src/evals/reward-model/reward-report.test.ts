import { expect, it } from "vitest";
import { formatRewardReport, rewardReport, type ScoredPair } from "./reward-report.js";

const pair = (
  margin: number,
  chosenTokens: number,
  rejectedTokens: number,
  category?: string,
): ScoredPair => ({
  ...{ chosenScore: margin, rejectedScore: 0, chosenTokens, rejectedTokens, category },
});
const log3 = Math.log(3); // σ(ln 3) = 3/4

it("counts, gap, classes and bias of five pairs, by hand", () => {
  const heldOut = [
    pair(log3, 5, 2, "a"),
    pair(log3, 2, 2, "a"),
    pair(-log3, 1, 4, "b"),
    pair(0, 3, 1, "b"), // a tie is a miss
    pair(4, 1, 2),
  ];
  const report = rewardReport(heldOut, [pair(1, 1, 1), pair(1, 1, 1), pair(2, 1, 1), pair(-1, 1, 1)]);
  expect(report.accuracy).toMatchObject({ correct: 3, count: 5, value: 0.6 });
  expect(report.accuracy.low).toBeLessThan(0.6);
  expect(report.gap).toBeCloseTo(0.75 - 0.6, 12);
  expect(report.meanMargin).toBeCloseTo((log3 + 4) / 5, 12);
  expect(
    Object.entries(report.byCategory).map(([name, { correct, count }]) => [name, correct, count]),
  ).toEqual([
    ["(none)", 1, 1],
    ["a", 2, 2],
    ["b", 0, 2],
  ]);
  expect(report.byLength).toMatchObject({
    "chosen shorter": { correct: 1, count: 2 },
    "same length": { correct: 1, count: 1 },
    "chosen longer": { correct: 1, count: 2 },
  });
  // Unequal: 3 longer and right, 1 shorter and wrong (longer preferred), a tie, 1 shorter and right.
  expect(report.lengthBias.modelPrefersLonger).toMatchObject({ correct: 2, count: 4 });
  expect(report.lengthBias.dataPrefersLonger).toMatchObject({ correct: 2, count: 4 });
  // σ(0) = 0.5 in the first bin, σ(ln 3) = 0.75 in the third, σ(4) = 0.982 in the last.
  expect(report.calibration.map(({ count }) => count)).toEqual([1, 0, 3, 0, 1]);
  expect(report.calibration[2]!.meanConfidence).toBeCloseTo(0.75, 12);
  const sure = 1 / (1 + Math.exp(-4));
  const expected = (1 / 5) * 0.5 + (3 / 5) * Math.abs(2 / 3 - 0.75) + (1 / 5) * (1 - sure);
  expect(report.calibrationError).toBeCloseTo(expected, 12);
  expect(formatRewardReport(report)).toContain("| accuracy, held out | 60.0 % (");
});

it("the correlation is 1 for scores that are lengths, −1 for their opposite, and null without variation", () => {
  const of = (factor: number) =>
    rewardReport(
      [1, 2, 5].map((gap) => pair(factor * gap, 6, 6 - gap)),
      [],
    ).lengthBias.correlation;
  expect(of(1)).toBeCloseTo(1, 12);
  expect(of(-2)).toBeCloseTo(-1, 12);
  expect(of(0)).toBeNull();
});
