import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { resultsMatch, type SqlRow, type SqlValue } from "./index.js";

const SEED = 20261121;

const value: fc.Arbitrary<SqlValue> = fc.oneof(
  fc.integer({ min: 0, max: 3 }),
  fc.constantFrom("a", "b", "1", null, 1.5, 2n ** 60n),
  fc.constant(new Uint8Array([97])),
);
/** Few values, so that rows and columns repeat: the hard case for a search over columns. */
const table = fc
  .tuple(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 5 }))
  .chain(([rows, columns]) =>
    fc.array(fc.array(value, { minLength: columns, maxLength: columns }), {
      minLength: rows,
      maxLength: rows,
    }),
  );

const permutation = (length: number): fc.Arbitrary<number[]> =>
  fc.shuffledSubarray(
    Array.from({ length }, (_, i) => i),
    { minLength: length, maxLength: length },
  );

const withColumns = (rows: readonly SqlRow[], order: readonly number[]): SqlRow[] =>
  rows.map((row) => order.map((column) => row[column]!));

/** The definition, by trying every order of columns. */
function matchesByDefinition(left: readonly SqlRow[], right: readonly SqlRow[], isOrdered: boolean): boolean {
  if (left.length !== right.length) return false;
  if (left[0]!.length !== right[0]!.length) return false;
  const text = (rows: readonly SqlRow[]): string => {
    const lines = rows.map((row) => row.map((cell) => `${typeof cell}:${String(cell)}`).join("|"));
    return (isOrdered ? lines : lines.sort()).join("\n");
  };
  const wanted = text(left);
  const orders = (items: readonly number[]): number[][] =>
    items.length === 0
      ? [[]]
      : items.flatMap((item) =>
          orders(items.filter((other) => other !== item)).map((rest) => [item, ...rest]),
        );
  return orders(left[0]!.map((_, i) => i)).some((order) => text(withColumns(right, order)) === wanted);
}

describe("resultsMatch()", () => {
  it.each<[string, SqlRow[], SqlRow[], { anyOrder: boolean; sameOrder: boolean }]>([
    ["nothing and nothing, whatever the columns", [], [], { anyOrder: true, sameOrder: true }],
    ["nothing and a row", [], [[1]], { anyOrder: false, sameOrder: false }],
    ["a row of NULL and nothing", [[null]], [], { anyOrder: false, sameOrder: false }],
    ["rows in another order", [[1], [2]], [[2], [1]], { anyOrder: true, sameOrder: false }],
    [
      "columns in another order",
      [
        [1, "a"],
        [2, "b"],
      ],
      [
        ["a", 1],
        ["b", 2],
      ],
      { anyOrder: true, sameOrder: true },
    ],
    ["a duplicate too many", [[1], [1], [2]], [[1], [2], [2]], { anyOrder: false, sameOrder: false }],
    ["a duplicate left out", [[1], [1]], [[1]], { anyOrder: false, sameOrder: false }],
    ["a column too many", [[1, 1]], [[1]], { anyOrder: false, sameOrder: false }],
    ["a whole number and the same float", [[1]], [[1.0]], { anyOrder: true, sameOrder: true }],
    ["a number and its text", [[1]], [["1"]], { anyOrder: false, sameOrder: false }],
    ["NULL and NULL", [[null]], [[null]], { anyOrder: true, sameOrder: true }],
    ["NULL and 0", [[null]], [[0]], { anyOrder: false, sameOrder: false }],
    ["NULL and empty text", [[null]], [[""]], { anyOrder: false, sameOrder: false }],
    ["NULL and its text", [[null]], [["null"]], { anyOrder: false, sameOrder: false }],
    ["upper and lower case", [["A"]], [["a"]], { anyOrder: false, sameOrder: false }],
    ["minus zero and zero", [[-0]], [[0]], { anyOrder: true, sameOrder: true }],
    ["2^53 + 1 and 2^53", [[2n ** 53n + 1n]], [[2 ** 53]], { anyOrder: false, sameOrder: false }],
    ["2^60 as integer and float", [[2n ** 60n]], [[2 ** 60]], { anyOrder: true, sameOrder: true }],
    ["a blob and its text", [[new Uint8Array([97])]], [["a"]], { anyOrder: false, sameOrder: false }],
    ["equal blobs", [[new Uint8Array([97])]], [[Buffer.from("a")]], { anyOrder: true, sameOrder: true }],
    // Each column alone fits, together they do not: (1,2),(2,1) against (1,1),(2,2).
    [
      "the same columns joined differently",
      [
        [1, 2],
        [2, 1],
      ],
      [
        [1, 1],
        [2, 2],
      ],
      { anyOrder: false, sameOrder: false },
    ],
  ])("%s", (_why, left, right, { anyOrder, sameOrder }) => {
    expect(resultsMatch(left, right, { isOrdered: false })).toBe(anyOrder);
    expect(resultsMatch(left, right, { isOrdered: true })).toBe(sameOrder);
  });

  it("holds after permuting columns and rows", () => {
    fc.assert(
      fc.property(
        table.chain((rows) =>
          fc.tuple(fc.constant(rows), permutation(rows.length), permutation(rows[0]!.length)),
        ),
        ([rows, rowOrder, columnOrder]) => {
          const columns = withColumns(rows, columnOrder);
          const both = rowOrder.map((row) => columns[row]!);
          return (
            resultsMatch(rows, columns, { isOrdered: true }) &&
            resultsMatch(rows, columns, { isOrdered: false }) &&
            resultsMatch(rows, both, { isOrdered: false })
          );
        },
      ),
      { seed: SEED, numRuns: 500 },
    );
  });

  it("breaks when one cell becomes a value that is nowhere", () => {
    fc.assert(
      fc.property(
        table.chain((rows) =>
          fc.tuple(fc.constant(rows), fc.nat(rows.length - 1), fc.nat(rows[0]!.length - 1), fc.boolean()),
        ),
        ([rows, row, column, isOrdered]) => {
          const changed = rows.map((cells) => [...cells]);
          changed[row]![column] = "elsewhere";
          return !resultsMatch(rows, changed, { isOrdered }) && !resultsMatch(changed, rows, { isOrdered });
        },
      ),
      { seed: SEED, numRuns: 500 },
    );
  });

  it("agrees with trying every order of columns, also on results that almost match", () => {
    let matches = 0;
    fc.assert(
      fc.property(
        fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 4 })).chain(([rows, columns]) => {
          const cells = fc.array(
            fc.array(fc.integer({ min: 0, max: 1 }), { minLength: columns, maxLength: columns }),
            {
              minLength: rows,
              maxLength: rows,
            },
          );
          return fc.tuple(cells, cells, fc.boolean());
        }),
        ([left, right, isOrdered]) => {
          const expected = matchesByDefinition(left, right, isOrdered);
          if (expected) matches++;
          expect(resultsMatch(left, right, { isOrdered })).toBe(expected);
        },
      ),
      { seed: SEED, numRuns: 3000 },
    );
    expect(matches).toBeGreaterThan(200);
  });

  it("finds one order among very many in no time", () => {
    // 24 columns of bits: 24! orders, told apart only together.
    const rows = Array.from({ length: 200 }, (_, row) =>
      Array.from({ length: 24 }, (_, column) => ((row * 2654435761 + column * column * 40503) >>> 7) & 1),
    );
    const shuffled = withColumns(
      rows,
      Array.from({ length: 24 }, (_, i) => (i * 7 + 3) % 24),
    ).reverse();
    const startedMs = performance.now();
    expect(resultsMatch(rows, shuffled, { isOrdered: false })).toBe(true);
    const wrong = shuffled.map((row, i) => (i === 0 ? row.map((bit) => (bit === 1 ? 0 : 1)) : row));
    expect(resultsMatch(rows, wrong, { isOrdered: false })).toBe(false);
    // Columns all alike, and one row that differs.
    const alike = Array.from({ length: 50 }, () => Array.from({ length: 30 }, () => 1));
    const other = alike.map((row, i) =>
      row.map((cell, j) => (i === 0 && j < 2 ? 2 : i === 1 && j === 2 ? 2 : cell)),
    );
    const otherwise = alike.map((row, i) =>
      row.map((cell, j) => (i === 0 && j < 1 ? 2 : i === 1 && j < 2 ? 2 : cell)),
    );
    expect(resultsMatch(other, otherwise, { isOrdered: false })).toBe(false);
    expect(performance.now() - startedMs).toBeLessThan(2000);
  });
});
