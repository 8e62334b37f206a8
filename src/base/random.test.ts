import { expect, it } from "vitest";
import { Random } from "./random.js";
import { mean, standardDeviation } from "./statistics.js";

it("Random gives xoshiro128**'s numbers for a known state", () => {
  // Worked by hand for state 1, 2, 3, 4: rotl(2 · 5, 7) · 9 = 11520, then b = 2 ^ 3 ^ 1 = 0 gives 0.
  const random = Random.fromState([1, 2, 3, 4]);
  expect([random.uint32(), random.uint32()]).toEqual([11520, 0]);
});

it("Random goes on from its state as if it had never stopped", () => {
  const random = new Random(7);
  for (let i = 0; i < 10; i++) random.uint32();
  const copy = Random.fromState(random.state);
  expect(Array.from({ length: 5 }, () => copy.normal())).toEqual(
    Array.from({ length: 5 }, () => random.normal()),
  );
});

it("fork() does not advance the generator and depends on the purpose", () => {
  const random = new Random(3);
  const before = random.state;
  expect(random.fork("a").uint32()).not.toBe(random.fork("b").uint32());
  expect(random.fork("a").uint32()).toBe(random.fork("a").uint32());
  expect(random.state).toEqual(before);
});

it("uniform() fills [0, 1) evenly", () => {
  const random = new Random(11);
  const counts = new Array<number>(20).fill(0);
  for (let i = 0; i < 200_000; i++) counts[Math.floor(random.uniform() * 20)]!++;
  // χ² with 19 degrees of freedom passes 43.8 once in a thousand seeds.
  expect(counts.reduce((sum, count) => sum + (count - 10_000) ** 2 / 10_000, 0)).toBeLessThan(43.8);
});

it("normal() has the normal distribution's shape, tails included", () => {
  const random = new Random(5);
  const n = 1_000_000;
  const values = new Float32Array(n);
  random.fillNormal(values, 1);
  const cubes = values.map((x) => x ** 3);
  const fourths = values.map((x) => x ** 4);
  // Each bound is about four standard errors.
  expect(Math.abs(mean(values))).toBeLessThan(4 / Math.sqrt(n));
  expect(Math.abs(standardDeviation(values) - 1)).toBeLessThan(4 / Math.sqrt(2 * n));
  expect(Math.abs(mean(cubes))).toBeLessThan(4 * Math.sqrt(15 / n));
  expect(Math.abs(mean(fourths) - 3)).toBeLessThan(4 * Math.sqrt(96 / n));
  // P(|x| > 3.442619…) = 5.76e-4, all of it from the tail's own routine; inside, compare bins with the density.
  const beyond = (limit: number): number =>
    values.reduce((count, x) => count + Number(Math.abs(x) > limit), 0) / n;
  for (const [limit, probability] of [
    [0.5, 0.6170751],
    [1, 0.3173105],
    [2, 0.0455003],
    [3, 0.0026998],
    [3.5, 0.000465258],
    [4, 0.0000633425],
  ] as const) {
    expect(Math.abs(beyond(limit) - probability), `beyond ${limit}`).toBeLessThan(
      4.5 * Math.sqrt((probability * (1 - probability)) / n),
    );
  }
});

it("shuffled() keeps the items and does not mutate the input", () => {
  const items = [1, 2, 3, 4, 5, 6, 7, 8];
  const shuffled = new Random(1).shuffled(items);
  expect(items).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  expect(shuffled).not.toEqual(items);
  expect([...shuffled].sort()).toEqual(items);
});
