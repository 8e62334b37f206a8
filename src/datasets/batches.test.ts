import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createBatchPlan, type DataCursor, epochOrder, START } from "./batches.js";
import { sharedPrompts, splitByPrompt } from "./split.js";
import type { TrainingRow } from "./tokenize.js";

const plan = fc.record({
  rowCount: fc.integer({ min: 1, max: 60 }),
  batchSize: fc.integer({ min: 1, max: 17 }),
  seed: fc.nat(),
});

describe("createBatchPlan()", () => {
  it("visits every row once an epoch, in batches of batchSize but the last", () => {
    fc.assert(
      fc.property(plan, (options) => {
        const batches = createBatchPlan(options);
        let cursor: DataCursor = START;
        for (const epoch of [0, 1]) {
          const seen: number[] = [];
          for (let step = 0; step < batches.stepsPerEpoch; step++) {
            expect(cursor.epoch).toBe(epoch);
            const { rows, next } = batches.batchAt(cursor);
            const isLast = step === batches.stepsPerEpoch - 1;
            expect(isLast ? rows.length <= options.batchSize : rows.length === options.batchSize).toBe(true);
            seen.push(...rows);
            cursor = next;
          }
          expect(cursor).toEqual({ epoch: epoch + 1, position: 0 });
          expect([...seen].sort((a, b) => a - b)).toEqual(seen.map((_, i) => i));
          expect(seen).toHaveLength(options.rowCount);
        }
      }),
    );
  });

  it("goes on from any cursor exactly as a plan that was never stopped", () => {
    fc.assert(
      fc.property(plan, fc.nat({ max: 30 }), (options, stops) => {
        const whole = createBatchPlan(options);
        let cursor: DataCursor = START;
        for (let i = 0; i < stops; i++) cursor = whole.batchAt(cursor).next;
        const stored: DataCursor = JSON.parse(JSON.stringify(cursor));
        const resumed = createBatchPlan(options);
        let other = stored;
        for (let i = 0; i < 20; i++) {
          const [a, b] = [whole.batchAt(cursor), resumed.batchAt(other)];
          expect(b).toEqual(a);
          [cursor, other] = [a.next, b.next];
        }
      }),
    );
  });

  it("orders epochs and seeds differently, and equal ones the same", () => {
    expect(epochOrder(50, 1, 0)).toEqual(epochOrder(50, 1, 0));
    expect(epochOrder(50, 1, 1)).not.toEqual(epochOrder(50, 1, 0));
    expect(epochOrder(50, 2, 0)).not.toEqual(epochOrder(50, 1, 0));
    expect(
      createBatchPlan({ rowCount: 3, batchSize: 2, seed: 1, shuffle: false }).batchAt(START).rows,
    ).toEqual([0, 1]);
  });

  it("puts every row in every place equally often over the epochs", () => {
    const rowCount = 6;
    const epochs = 6000;
    const counts = Array.from({ length: rowCount }, () => new Array<number>(rowCount).fill(0));
    for (let epoch = 0; epoch < epochs; epoch++) {
      for (const [place, row] of epochOrder(rowCount, 5, epoch).entries()) counts[row]![place]!++;
    }
    // Binomial: 1000 expected, standard deviation 29; five of them among 36 cells is never chance.
    for (const count of counts.flat()) expect(Math.abs(count - epochs / rowCount)).toBeLessThan(5 * 29);
  });
});

function rowsOf(prompts: readonly number[]): TrainingRow[] {
  return prompts.map((prompt, i) => ({
    tokens_T: Int32Array.of(1, 2),
    lossMask_T: Uint8Array.of(0, 1),
    line: i + 1,
    promptKey: `p${prompt}`,
  }));
}

describe("splitByPrompt()", () => {
  it("loses no row, splits no prompt, and keeps both sides filled and in order", () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 12 }), { minLength: 2, maxLength: 60 }).filter((p) => new Set(p).size > 1),
        fc.double({ min: 0.01, max: 0.9, noNaN: true }),
        fc.nat(),
        (prompts, fraction, seed) => {
          const rows = rowsOf(prompts);
          const split = splitByPrompt(rows, fraction, seed);
          expect(sharedPrompts(split)).toBe(0);
          expect(split.train.length).toBeGreaterThan(0);
          // More than was asked for only where the one prompt set apart has more rows by itself.
          if (new Set(split.validation.map(({ promptKey }) => promptKey)).size > 1) {
            expect(split.validation.length).toBeLessThanOrEqual(
              Math.max(1, Math.round(fraction * rows.length)),
            );
          }
          expect(split.validation.length).toBeGreaterThan(0);
          for (const side of [split.train, split.validation]) {
            expect(side.map(({ line }) => line)).toEqual(side.map(({ line }) => line).sort((a, b) => a - b));
          }
          expect([...split.train, ...split.validation].map(({ line }) => line).sort((a, b) => a - b)).toEqual(
            rows.map(({ line }) => line),
          );
        },
      ),
    );
  });

  it("sets the asked fraction apart where prompts differ, the same for the same seed", () => {
    const rows = rowsOf(Array.from({ length: 200 }, (_, i) => i));
    const split = splitByPrompt(rows, 0.1, 7);
    expect(split.validation).toHaveLength(20);
    expect(splitByPrompt(rows, 0.1, 7)).toEqual(split);
    expect(splitByPrompt(rows, 0.1, 8)).not.toEqual(split);
  });

  it("refuses rows of one prompt", () => {
    expect(() => splitByPrompt(rowsOf([4, 4, 4]), 0.1, 1)).toThrow(
      "Cannot set validationFraction 0.1 apart: the 3 rows have 1 different prompts, expected at least 2. Give data.validation a file of its own",
    );
  });

  it("sharedPrompts() counts validation rows whose prompt is trained on", () => {
    expect(sharedPrompts({ train: rowsOf([1, 2]), validation: rowsOf([2, 3, 2]) })).toBe(2);
  });
});
