import { expect, it } from "vitest";
import {
  type Alarm,
  checkGuards,
  GUARDS,
  type GuardCounts,
  type GuardLimits,
  type Measurements,
} from "./index.js";

const baseline = { entropy: 2, meanLength: 20 };
const limits = Object.fromEntries(
  Object.entries(GUARDS).map(([name, { defaults }]) => [name, defaults]),
) as Record<keyof typeof GUARDS, GuardLimits | null>; // the keys of GUARDS

/** What is said in each of a series of steps. */
function alarmsOf(series: readonly Measurements[], changed: Partial<typeof limits> = {}): Alarm[][] {
  let counts: GuardCounts = {};
  return series.map((measurements) => {
    const verdict = checkGuards(measurements, { baseline, limits: { ...limits, ...changed }, counts });
    counts = verdict.counts;
    return [...verdict.alarms];
  });
}

/** Per guard: a number that is healthy, one that warns and one that is beyond the limit. */
const CASES: Readonly<Record<keyof typeof GUARDS, readonly [Measurements, Measurements, Measurements]>> = {
  kl: [{ kl: 0.19 }, { kl: 0.2 }, { kl: 1 }],
  entropy: [{ entropy: 0.51 }, { entropy: 0.5 }, { entropy: 0.1 }],
  gradNorm: [{ gradNorm: 19 }, { gradNorm: 20 }, { gradNorm: 200 }],
  zeroVariance: [{ zeroVarianceFraction: 0.89 }, { zeroVarianceFraction: 0.9 }, { zeroVarianceFraction: 1 }],
  length: [{ meanLength: 29 }, { meanLength: 30 }, { meanLength: 60 }],
  truncation: [{ truncatedFraction: 0.24 }, { truncatedFraction: 0.25 }, { truncatedFraction: 0.9 }],
  invalid: [{ invalidFraction: 0.019 }, { invalidFraction: 0.02 }, { invalidFraction: 0.25 }],
};

it.each(Object.entries(CASES))(
  "%s is silent within its range, warns, and acts after its patience",
  (name, [healthy, odd, bad]) => {
    const { patience, action } = GUARDS[name as keyof typeof GUARDS].defaults; // a key of CASES
    const steps = (measurements: Measurements) => new Array<Measurements>(patience).fill(measurements);
    expect(alarmsOf(steps(healthy)).flat()).toEqual([]);
    const warned = alarmsOf(steps(odd));
    expect(warned.slice(0, -1).flat()).toEqual([]);
    expect(warned.at(-1)).toMatchObject([{ guard: name, action: "warn" }]);
    const acted = alarmsOf(steps(bad));
    expect(acted.slice(0, -1).flat()).toEqual([]);
    expect(acted.at(-1)).toMatchObject([{ guard: name, action }]);
  },
);

it("one step within the range starts the count anew, and a lasting fault speaks again", () => {
  const bad: Measurements = { gradNorm: 500 };
  const fine: Measurements = { gradNorm: 1 };
  expect(alarmsOf([bad, bad, fine, bad, bad]).flat()).toEqual([]);
  const spoken = alarmsOf(new Array(7).fill(bad)).map((alarms) => alarms.length);
  expect(spoken).toEqual([0, 0, 1, 0, 0, 1, 0]);
});

it("a guard set to null is off, and a number that was not measured is no alarm", () => {
  expect(alarmsOf([{ invalidFraction: 1 }], { invalid: null }).flat()).toEqual([]);
  expect(alarmsOf([{}]).flat()).toEqual([]);
});

it("the reason has both numbers, and what can be done", () => {
  const [[alarm]] = alarmsOf([{ invalidFraction: 0.5 }]) as [[Alarm]];
  expect(alarm.reason).toBe(
    "50.0 % of the rollouts have no valid reward, at or beyond the limit of 0.25. The run store has each one's reason: mend the environment before training on",
  );
  const warned = alarmsOf(new Array(3).fill({ kl: 0.5 })).at(-1)![0]!;
  expect(warned.reason).toMatch(
    /^KL to the reference is 0.500 nats per token, healthy is below 0.2 for 3 steps in a row\. /,
  );
});

it("entropy says nothing of a policy that was certain from the start", () => {
  const verdict = checkGuards(
    { entropy: 0 },
    {
      baseline: { entropy: 0.01, meanLength: 5 },
      limits: { ...limits, entropy: { ...GUARDS.entropy.defaults, patience: 1 } },
      counts: {},
    },
  );
  expect(verdict.alarms).toEqual([]);
});
