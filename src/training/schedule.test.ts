import { describe, expect, it } from "vitest";
import { learningRateAt, type ScheduleName, warmupStepsOf } from "./schedule.js";

// Peak 0.5, 3 warmup steps of 10, the rate before each of 12 updates: torch 2.13 with transformers 5.18's
// get_{linear,cosine}_schedule_with_warmup and get_constant_schedule_with_warmup (constant: 6 updates).
const WANTED: Readonly<Record<ScheduleName, readonly number[]>> = {
  linear: [
    0, 0.16666666666666666, 0.3333333333333333, 0.5, 0.42857142857142855, 0.35714285714285715,
    0.2857142857142857, 0.21428571428571427, 0.14285714285714285, 0.07142857142857142, 0, 0,
  ],
  cosine: [
    0, 0.16666666666666666, 0.3333333333333333, 0.5, 0.47524221697560476, 0.4058724504646834,
    0.3056302334890786, 0.19436976651092142, 0.09412754953531663, 0.02475778302439524, 0,
    0.024757783024395214,
  ],
  constant: [0, 0.16666666666666666, 0.3333333333333333, 0.5, 0.5, 0.5],
};

describe("learningRateAt()", () => {
  it.each(Object.keys(WANTED) as ScheduleName[])("gives transformers' rates: %s", (schedule) => {
    const rates = WANTED[schedule].map((_, step) =>
      learningRateAt(step, 10, { schedule, learningRate: 0.5, warmupSteps: 3 }),
    );
    // The formulas are the same; the last digits may round apart.
    for (const [step, rate] of rates.entries()) expect(rate).toBeCloseTo(WANTED[schedule][step]!, 15);
  });

  it("starts at the peak without warmup", () => {
    const rates = [0, 1, 2, 3, 4, 5].map((step) =>
      learningRateAt(step, 5, { schedule: "cosine", learningRate: 0.5, warmupSteps: 0 }),
    );
    const wanted = [
      0.5, 0.45225424859373686, 0.32725424859373686, 0.17274575140626316, 0.047745751406263165, 0,
    ];
    for (const [step, rate] of rates.entries()) expect(rate).toBeCloseTo(wanted[step]!, 15);
  });

  it("is never negative past the end, and warmup longer than the run only rises", () => {
    expect(learningRateAt(99, 10, { schedule: "linear", learningRate: 1, warmupSteps: 0 })).toBe(0);
    const rates = [0, 1, 2].map((step) =>
      learningRateAt(step, 3, { schedule: "linear", learningRate: 1, warmupSteps: 4 }),
    );
    expect(rates).toEqual([0, 0.25, 0.5]);
  });
});

describe("warmupStepsOf()", () => {
  it("rounds a fraction up, and takes a number of steps as it is", () => {
    expect(warmupStepsOf(101, { warmupSteps: 0, warmupFraction: 0.03 })).toBe(4);
    expect(warmupStepsOf(101, { warmupSteps: 7, warmupFraction: 0 })).toBe(7);
    expect(warmupStepsOf(101, { warmupSteps: 0, warmupFraction: 0 })).toBe(0);
  });
});
