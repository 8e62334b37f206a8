import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadRecords } from "../records/read-records.js";
import { cohenKappa } from "./cohen-kappa.js";
import { type Comparison, measureAgreement, readComparisons, type Vote } from "./comparisons.js";
import { fleissKappa } from "./fleiss-kappa.js";
import { majorityOf, pairsByMajority } from "./majority.js";

const repeated = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);

describe("cohenKappa()", () => {
  it("is (0.7 − 0.5) / 0.5 = 0.4 where 35 of 50 agree and chance gives half", () => {
    // 20 both yes, 5 yes/no, 10 no/yes, 15 both no: p_o = 35/50; yes has 25/50 and 30/50, p_e = 0.5·0.6 + 0.5·0.4.
    const first = [...repeated(25, "yes"), ...repeated(25, "no")];
    const second = [
      ...repeated(20, "yes"),
      ...repeated(5, "no"),
      ...repeated(10, "yes"),
      ...repeated(15, "no"),
    ];
    const { items, observed, expected, kappa } = cohenKappa(first, second);
    expect([items, observed]).toEqual([50, 0.7]);
    expect(expected).toBeCloseTo(0.5, 12);
    expect(kappa).toBeCloseTo(0.4, 12);
  });

  it("is −1 where two annotators always say the opposite, 1 where they always agree", () => {
    expect(cohenKappa([1, 2, 1, 2], [2, 1, 2, 1]).kappa).toBe(-1);
    expect(cohenKappa([1, 2, 0, 2], [1, 2, 0, 2]).kappa).toBe(1);
  });

  it("is undefined where both use one category only, and 0 where one of them does", () => {
    expect(cohenKappa([1, 1, 1], [1, 1, 1])).toEqual({
      items: 3,
      observed: 1,
      expected: 1,
      kappa: undefined,
    });
    expect(cohenKappa([1, 1, 1, 1], [1, 2, 1, 2]).kappa).toBe(0);
  });

  it("refuses no items and lists of different length", () => {
    expect(() => cohenKappa([], [])).toThrow("Cannot measure agreement: 0 items, expected at least 1");
    expect(() => cohenKappa([1], [1, 2])).toThrow("lengths 1 and 2 differ");
  });
});

describe("fleissKappa()", () => {
  it("gives 0.210 for the worked example of 10 items, 14 raters, 5 categories", () => {
    // Counts as in the article on Fleiss' kappa: sum of squares per item gives P̄ = 0.378, shares give P̄_e = 0.213.
    const counts = [
      [0, 0, 0, 0, 14],
      [0, 2, 6, 4, 2],
      [0, 0, 3, 5, 6],
      [0, 3, 9, 2, 0],
      [2, 2, 8, 1, 1],
      [7, 7, 0, 0, 0],
      [3, 2, 6, 3, 0],
      [2, 5, 3, 2, 2],
      [6, 5, 2, 1, 0],
      [0, 2, 2, 3, 7],
    ];
    const judgements = counts.map((item) => item.flatMap((n, category) => repeated(n, category)));
    const { observed, expected, kappa } = fleissKappa(judgements);
    expect(observed).toBeCloseTo(0.378, 3);
    expect(expected).toBeCloseTo(0.213, 3);
    expect(kappa).toBeCloseTo(0.21, 3);
  });

  it("of two annotators with equal habits is Cohen's; the order of judgements is irrelevant", () => {
    // Fleiss takes one distribution for both: Scott's pi. Equal margins make it Cohen's kappa.
    const first = [1, 2, 1, 2, 0, 0];
    const second = [2, 1, 1, 2, 0, 0];
    const items = first.map((vote, i) => [vote, second[i]!]);
    expect(fleissKappa(items).kappa).toBeCloseTo(cohenKappa(first, second).kappa!, 12);
    expect(fleissKappa(items.map(([a, b]) => [b!, a!]))).toEqual(fleissKappa(items));
  });

  it("is undefined for one category, and refuses items of one or of unlike numbers of judgements", () => {
    expect(fleissKappa([repeated(3, 0), repeated(3, 0)]).kappa).toBeUndefined();
    expect(() => fleissKappa([[1], [2]])).toThrow(
      "items have 1 judgements, expected the same number of at least 2",
    );
    expect(() =>
      fleissKappa([
        [1, 2],
        [1, 2, 0],
      ]),
    ).toThrow("items have 2, 3 judgements");
    expect(() => fleissKappa([])).toThrow("items have no judgements");
  });
});

const comparison = (line: number, votes: Vote[]): Comparison => ({
  line,
  prompt: `p${line}`,
  responses: ["first", "second"],
  votes,
});
const setOf = (...votes: Vote[][]) => ({
  path: "c.jsonl",
  annotators: votes[0]!.map((_, i) => `annotator${i + 1}`),
  comparisons: votes.map((own, i) => comparison(i + 1, own)),
});

describe("pairsByMajority()", () => {
  it("takes what more than half prefer, with the margin, and leaves out ties and what nobody decides", () => {
    const { pairs, ties, undecided } = pairsByMajority(
      setOf([1, 1, 1], [2, 2, 1], [2, 0, 2], [0, 0, 1], [0, 1, 2], [0, 0, 0]),
    );
    expect(pairs.map(({ chosen, rejected, margin }) => [chosen, rejected, margin])).toEqual([
      ["first", "second", 1],
      ["second", "first", 1 / 3],
      ["second", "first", 2 / 3],
    ]);
    expect(pairs[1]).toMatchObject({ prompt: "p2", votes: [2, 2, 1], source: "c.jsonl", source_line: 2 });
    expect([ties, undecided]).toEqual([[4, 6], [5]]);
  });

  it("half of the votes is no majority", () => {
    expect(majorityOf([1, 2])).toBeUndefined();
    expect(majorityOf([1, 1, 2, 2])).toBeUndefined();
    expect(majorityOf([1, 1, 2])).toBe(1);
  });

  it("refuses comparisons that are all ties", () => {
    expect(() => pairsByMajority(setOf([0, 0, 0], [1, 2, 0]))).toThrow(
      "Cannot make pairs of c.jsonl: of 2 comparisons 1 are ties and 1 have no majority, expected at least one that a majority decides",
    );
  });

  it("turning answers and votes round changes no pair, and votes may come in any order", () => {
    const vote = fc.constantFrom<Vote>(0, 1, 2);
    const turned: Record<Vote, Vote> = { 0: 0, 1: 2, 2: 1 };
    fc.assert(
      fc.property(fc.array(vote, { minLength: 1, maxLength: 7 }), (votes) => {
        const winner = majorityOf(votes);
        expect(majorityOf(votes.map((one) => turned[one]))).toBe(
          winner === undefined ? undefined : turned[winner],
        );
        expect(majorityOf([...votes].reverse())).toBe(winner);
      }),
    );
  });
});

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-agreement-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

it.each<[string, unknown, string]>([
  [
    "no annotators",
    { prompt: "p", response1: "a", response2: "b" },
    "Cannot read PATH:1: it has no column annotator1, annotator2, …, expected at least two, each with 1, 2 or 0 (a tie)",
  ],
  [
    "a vote that is none",
    { prompt: "p", response1: "a", response2: "b", annotator1: 1, annotator2: 3 },
    "Cannot read PATH:1: annotator2 is 3, expected 0 or 1 or 2",
  ],
  [
    "no prompt",
    { response1: "a", response2: "b", annotator1: 1, annotator2: 2 },
    "Cannot read PATH:1: it has no prompt, expected a column prompt, or instruction and input",
  ],
])("readComparisons() refuses %s", async (_, row, message) => {
  const path = join(directory, "c.jsonl");
  writeFileSync(path, JSON.stringify(row));
  await expect(readComparisons(path)).rejects.toThrow(message.replace("PATH", path));
});

const PANDALM = join(
  process.env["HONE_DATA"] ?? join(import.meta.dirname, "../../../../shared/data"),
  "pandalm/testset-v1.json",
);

it.skipIf(!existsSync(PANDALM))(
  "PandaLM's annotators agree as NumPy says, and majorities make pairs (skipped where HONE_DATA has no pandalm)",
  async () => {
    const set = await readComparisons(PANDALM);
    expect(set.comparisons).toHaveLength(999);
    const { pairs, group, unanimous } = measureAgreement(set);
    expect(pairs.map(({ annotators }) => annotators.join())).toEqual([
      "annotator1,annotator2",
      "annotator1,annotator3",
      "annotator2,annotator3",
    ]);
    [0.8520226785167025, 0.8789438112500383, 0.8616614540762908].forEach((kappa, i) => {
      expect(pairs[i]!.kappa).toBeCloseTo(kappa, 12);
    });
    expect(group.kappa).toBeCloseTo(0.864175364997549, 12);
    const made = pairsByMajority(set);
    expect([made.pairs.length, made.ties.length, made.undecided.length, unanimous]).toEqual([
      894, 105, 0, 879,
    ]);
    const path = join(directory, "pairs.jsonl");
    writeFileSync(path, made.pairs.map((pair) => JSON.stringify(pair)).join("\n"));
    expect(await loadRecords(path)).toMatchObject({ kind: "preference" });
  },
);
