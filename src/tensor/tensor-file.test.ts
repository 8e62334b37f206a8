import { expect, it } from "vitest";
import { firstNonFinite } from "./tensor-file.js";

it("firstNonFinite() finds the first NaN or infinity at every place, and passes the largest finite numbers", () => {
  const largest = Math.fround(3.4028234663852886e38);
  for (let length = 0; length < 10; length++) {
    const values = new Float32Array(length).fill(largest);
    values.fill(-largest, length >> 1);
    expect(firstNonFinite(values)).toBe(-1);
    for (let i = 0; i < length; i++) {
      for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
        const copy = values.slice();
        copy[i] = bad;
        copy[length - 1] = bad;
        expect(firstNonFinite(copy)).toBe(i);
      }
    }
  }
});
