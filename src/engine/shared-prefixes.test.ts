import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RopeConfig } from "../nn/index.js";
import { packSequences, sharedPrefixes, splitSequences } from "./shared-prefixes.js";

const ROPE: RopeConfig = { type: "default", theta: 10_000, headWidth: 8, maxPositions: 64 };
const DYNAMIC: RopeConfig = { ...ROPE, type: "dynamic", factor: 2, maxPositions: 20 };

const run = (length: number, from = 0): number[] => Array.from({ length }, (_, i) => from + i);
const SHORT = run(18);

/** Sequences that mostly begin like one of those before them. */
const sequences: fc.Arbitrary<number[][]> = fc
  .array(fc.record({ cut: fc.nat({ max: 60 }), rest: fc.array(fc.nat({ max: 3 }), { maxLength: 25 }) }), {
    minLength: 1,
    maxLength: 9,
  })
  .map((steps) => {
    const made: number[][] = [run(30)];
    for (const [i, { cut, rest }] of steps.entries()) made.push([...made[i]!.slice(0, cut), ...rest, 9]);
    return made;
  });

describe("sharedPrefixes()", () => {
  it.each([
    [
      "a prompt and two completions",
      [
        [...SHORT, 1, 2],
        [...SHORT, 3],
      ],
      [0, 18],
    ],
    ["a sequence and the same again", [SHORT, SHORT], [0, 18]],
    ["a sequence that goes on where the first ends", [SHORT, [...SHORT, 4]], [0, 18]],
    ["beginnings of 16 and of 15", [run(16), [...run(16), 5], [...run(15), 6]], [0, 16, 0]],
    ["a stranger in between", [SHORT, [7, ...SHORT], SHORT], [0, 0, 0]],
  ])("of %s", (_title, given, expected) => {
    expect(sharedPrefixes(ROPE, given)).toEqual(expected);
  });

  it("keeps apart what dynamic scaling gives different angles", () => {
    const of = (...lengths: number[]): number[] =>
      sharedPrefixes(
        DYNAMIC,
        lengths.map((length) => run(length)),
      );
    expect(of(17, 20)).toEqual([0, 17]); // both within the model's context
    expect(of(20, 21)).toEqual([0, 0]);
    expect(of(21, 21)).toEqual([0, 21]); // stretched alike
    expect(of(30, 21)).toEqual([0, 0]);
  });
});

describe("packSequences()", () => {
  it("packs every token once, where it sees its own sequence and nothing else", () => {
    fc.assert(
      fc.property(sequences, (given) => {
        const shared = sharedPrefixes(ROPE, given);
        const { flat_D_T, tokens_T, ends_T } = packSequences(given, shared);
        expect(tokens_T.length).toBe(given.reduce((sum, { length }, i) => sum + length - shared[i]!, 0));
        for (const [i, flat_T] of flat_D_T.entries()) {
          expect([...flat_T].map((flat) => tokens_T[flat])).toEqual(given[i]);
          for (const [position, flat] of flat_T.entries()) {
            const visible = run(flat + 1).filter((key) => ends_T[key]! > flat);
            expect(visible).toEqual([...flat_T.subarray(0, position + 1)]);
          }
        }
      }),
      { seed: 1, numRuns: 200 },
    );
  });

  it("gives sequences without a common beginning one stretch each", () => {
    const { tokens_T, ends_T } = packSequences([[1, 2], [3], [4, 5, 6]], [0, 0, 0]);
    expect([...tokens_T]).toEqual([1, 2, 3, 4, 5, 6]);
    expect([...ends_T]).toEqual([2, 2, 3, 6, 6, 6]);
  });

  it("does not read what the first shares with one of another micro-batch", () => {
    const { flat_D_T, ends_T } = packSequences([SHORT, [...SHORT, 1]], [18, 18]);
    expect([...flat_D_T[0]!]).toEqual(SHORT);
    expect([...ends_T]).toEqual(new Array(19).fill(19));
  });
});

describe("splitSequences()", () => {
  const laws = (
    lengths: readonly number[],
    shared: readonly number[],
    most: number,
    mostInRows: number,
  ): void => {
    const batches = splitSequences(lengths, shared, { maxTokens: most, maxRowTokens: mostInRows });
    expect(batches.flat()).toEqual(run(lengths.length));
    for (const batch of batches) {
      const tokens = batch.reduce((sum, i) => sum + lengths[i]! - (i === batch[0] ? 0 : shared[i]!), 0);
      if (batch.length > 1) {
        expect(tokens).toBeLessThanOrEqual(most);
        expect(batch.reduce((sum, i) => sum + lengths[i]!, 0)).toBeLessThanOrEqual(mostInRows);
      }
    }
  };

  it("keeps order and bound", () => {
    fc.assert(
      fc.property(
        sequences,
        fc.integer({ min: 1, max: 150 }),
        fc.integer({ min: 1, max: 3 }),
        (given, most, rows) =>
          laws(
            given.map(({ length }) => length),
            sharedPrefixes(ROPE, given),
            most,
            rows * most,
          ),
      ),
      { seed: 2, numRuns: 300 },
    );
  });

  it.each([
    [
      "fills batches where nothing is shared",
      [5, 5, 5, 5],
      [0, 0, 0, 0],
      11,
      [
        [0, 1],
        [2, 3],
      ],
    ],
    ["counts a prompt of 20 once", [22, 22, 22, 22], [0, 20, 20, 20], 28, [[0, 1, 2, 3]]],
    ["begins anew rather than part a group", [30, 22, 22, 22], [0, 0, 20, 20], 50, [[0], [1, 2, 3]]],
    [
      "parts a group that fits nowhere",
      [3, 22, 22, 22, 22],
      [0, 0, 20, 20, 20],
      27,
      [
        [0, 1, 2],
        [3, 4],
      ],
    ],
    [
      "parts groups that begin alike between them",
      [22, 22, 22, 22, 22, 22],
      [0, 20, 20, 16, 20, 20],
      33,
      [
        [0, 1, 2],
        [3, 4, 5],
      ],
    ],
    ["leaves one that is too long alone", [3, 50, 3], [0, 0, 0], 10, [[0], [1], [2]]],
  ])("%s", (_title, lengths, shared, most, expected) => {
    const limits = { maxTokens: most, maxRowTokens: Number.POSITIVE_INFINITY };
    expect(splitSequences(lengths, shared, limits)).toEqual(expected);
  });

  it("never parts an example, and keeps order and bound all the same", () => {
    fc.assert(
      fc.property(
        sequences,
        fc.integer({ min: 1, max: 150 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 2, max: 3 }),
        (sequences_D_T, most, rows, together) => {
          const given = sequences_D_T.slice(0, sequences_D_T.length - (sequences_D_T.length % together));
          const lengths = given.map(({ length }) => length);
          const shared = sharedPrefixes(ROPE, given);
          const limits = { maxTokens: most, maxRowTokens: rows * most, together };
          const batches = splitSequences(lengths, shared, limits);
          expect(batches.flat()).toEqual(run(given.length));
          for (const batch of batches) {
            expect([batch[0]! % together, batch.length % together]).toEqual([0, 0]);
            const { tokens_T } = packSequences(
              batch.map((i) => given[i]!),
              batch.map((i) => shared[i]!),
            );
            if (batch.length === together) continue;
            expect(tokens_T.length).toBeLessThanOrEqual(most);
            expect(batch.reduce((sum, i) => sum + lengths[i]!, 0)).toBeLessThanOrEqual(rows * most);
          }
        },
      ),
      { seed: 3, numRuns: 300 },
    );
  });

  it.each([
    [
      "a pair that begins alike counts its beginning once",
      [22, 24, 22, 23],
      [0, 20, 0, 20],
      26 + 25,
      [[0, 1, 2, 3]],
    ],
    [
      "a pair that does not fit goes on whole",
      [22, 24, 22, 23],
      [0, 20, 0, 20],
      26 + 24,
      [
        [0, 1],
        [2, 3],
      ],
    ],
    [
      "a pair that is too long stands alone",
      [5, 5, 30, 30, 5, 5],
      [0, 0, 0, 0, 0, 0],
      20,
      [
        [0, 1],
        [2, 3],
        [4, 5],
      ],
    ],
  ])("%s", (_title, lengths, shared, most, expected) => {
    const limits = { maxTokens: most, maxRowTokens: Number.POSITIVE_INFINITY, together: 2 };
    expect(splitSequences(lengths, shared, limits)).toEqual(expected);
  });

  it("bounds what rows hold, where a shared beginning stands once for each sequence", () => {
    const limits = { maxTokens: 28, maxRowTokens: 56 };
    expect(splitSequences([22, 22, 22, 22], [0, 20, 20, 20], limits)).toEqual([
      [0, 1],
      [2, 3],
    ]);
  });
});
