import { expect, it } from "vitest";
import { Random } from "../../base/index.js";
import { expNonPositive } from "./exponential.js";

it("expNonPositive() is Math.exp within 1e-13, at the borders of its steps too", () => {
  const random = new Random(1);
  const check = (x: number): void => {
    const exact = Math.exp(x);
    expect(Math.abs(expNonPositive(x) - exact), `x = ${x}`).toBeLessThanOrEqual(1e-13 * exact);
  };
  for (let i = 0; i < 20_000; i++) check(-50 * random.uniform());
  for (let step = 0; step < 64 * 63; step++) check(((step + 0.5) * -Math.LN2) / 64);
  for (const x of [0, -0, -1e-300, -43.999, -44, -44.001, -700, -745, -1e9]) check(x);
});

it("expNonPositive() answers what is no number as Math.exp does", () => {
  expect(expNonPositive(Number.NEGATIVE_INFINITY)).toBe(0);
  expect(expNonPositive(Number.NaN)).toBeNaN();
  expect(expNonPositive(0)).toBe(1);
});
