import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Random } from "../../base/index.js";
import { parseRecord } from "../records/parse-record.js";
import type { DataRecord, PreferencePair } from "../records/record.js";
import { measureConsistency } from "./consistency.js";
import { categoryCoverage, coverageError } from "./coverage.js";
import { findContamination, readEvaluationTexts } from "./decontamination.js";
import { type Degeneracy, faultsOf, findDegenerate } from "./degenerate.js";
import { findDuplicates, textSimilarity } from "./duplicates.js";
import { measureLengths } from "./lengths.js";
import { preferenceGap } from "./preference-gap.js";
import { wordsAndSigns, wordsOf } from "./words.js";

const recordsOf = (...rows: Record<string, unknown>[]): DataRecord[] =>
  rows.map((row, i) => parseRecord(row, { line: i + 1, at: `d.jsonl:${i + 1}` }));
const pair = (prompt: string, chosen: string, rejected: string, notes: Record<string, unknown> = {}) => ({
  ...{ prompt, chosen, rejected },
  ...notes,
});
/** Words w0 … of a vocabulary, joined by spaces. */
const numbered = (from: number, count: number): string =>
  Array.from({ length: count }, (_, i) => `w${from + i}`).join(" ");

describe("words", () => {
  it("are lower case, without punctuation; signs of scripts without spaces stand alone", () => {
    expect(wordsOf("The CAT’s hat, naïve ﬁle: 3.5!")).toEqual([
      "the",
      "cat",
      "s",
      "hat",
      "naïve",
      "file",
      "3",
      "5",
    ]);
    expect(wordsOf("天空 is 蓝")).toEqual(["天", "空", "is", "蓝"]);
    expect(wordsAndSigns("f(x) = 蓝!")).toEqual(["f", "(", "x", ")", "=", "蓝", "!"]);
  });
});

describe("findDuplicates()", () => {
  it("finds rows that say exactly the same, whatever their notes", () => {
    const records = recordsOf(
      pair("p", "a", "b"),
      pair("p", "b", "a"),
      { rejected: "b", chosen: "a", prompt: "p", id: 3 },
      pair("p", "a", "b", { category: "x" }),
    );
    expect(findDuplicates(records)).toEqual({ exact: [[1, 3, 4]], exactRows: 2, near: [], nearRows: 0 });
  });

  it("calls rows near whose prompts and answers both are: 96 shingles, 5 differ, J = 91/101", () => {
    // 100 words have 96 shingles of five; another word in the middle changes five of them.
    const answer = numbered(0, 100);
    const changed = answer.replace("w50 ", "other ");
    expect(textSimilarity(answer, changed)).toBeCloseTo(91 / 101, 12);
    const records = recordsOf(
      { prompt: "same question", completion: answer },
      { prompt: "same question", completion: changed },
      { prompt: "another question", completion: answer },
      { prompt: "same question", completion: numbered(500, 100) },
    );
    expect(findDuplicates(records)).toMatchObject({ near: [[1, 2]], nearRows: 1 });
    expect(findDuplicates(records, { threshold: 0.95 }).near).toEqual([]);
  });

  it("calls neither samples of one prompt near, nor a pair and the same pair turned round", () => {
    const [a, b] = [numbered(0, 60), numbered(100, 60)];
    const samples = recordsOf(
      { prompt: a, completion: "yes", score: 1 },
      { prompt: a, completion: "no", score: 0 },
    );
    expect(findDuplicates(samples).nearRows).toBe(0);
    expect(findDuplicates(recordsOf(pair("p", a, b), pair("p", b, a))).nearRows).toBe(0);
  });

  it("misses no near pair that comparing every two rows finds, and finds no other", () => {
    for (let seed = 0; seed < 3; seed++) {
      const random = new Random(seed);
      // Texts that change a few words of one of six originals: similarities from 0.3 to 1.
      const rows = Array.from({ length: 40 }, () => {
        const words = numbered(1000 * random.integer(6), 160).split(" ");
        for (let n = 1 + random.integer(4); n > 0; n--)
          words[random.integer(160)] = `x${random.integer(1e6)}`;
        return { text: words.join(" ") };
      });
      const expected = new Set<string>();
      rows.forEach((a, i) => {
        rows.slice(0, i).forEach((b, j) => {
          if (a.text !== b.text && textSimilarity(a.text, b.text) >= 0.8) expected.add(`${j + 1} ${i + 1}`);
        });
      });
      const { near } = findDuplicates(recordsOf(...rows));
      const groupOf = new Map(near.flatMap((lines, group) => lines.map((line) => [line, group] as const)));
      expect(expected.size, `seed ${seed}`).toBeGreaterThan(5);
      for (const both of expected) {
        const [i, j] = both.split(" ").map(Number);
        expect(groupOf.get(i!), `seed ${seed}, rows ${both}`).toBe(groupOf.get(j!));
        expect(groupOf.get(i!)).toBeDefined();
      }
      for (const lines of near) {
        for (const line of lines) {
          const isNear = lines.some((other) =>
            expected.has(`${Math.min(line, other)} ${Math.max(line, other)}`),
          );
          expect(isNear, `seed ${seed}, row ${line}`).toBe(true);
        }
      }
    }
  });
});

describe("findContamination()", () => {
  const evaluation = (text: string) => [{ path: "test.jsonl", line: 4, text }];
  const question = numbered(0, 20);

  it("counts 13 common words, not 12, whatever case and punctuation", () => {
    const records = recordsOf(
      { prompt: `Please, ${numbered(3, 13).toUpperCase().replaceAll(" ", ", ")}?` },
      { prompt: `Please ${numbered(3, 12)} now` },
      { prompt: "p", completion: `It is ${numbered(7, 13)}.` },
      { prompt: numbered(0, 7), completion: numbered(7, 7) },
    );
    expect(findContamination(records, evaluation(question))).toEqual({
      score: 0.5,
      overlaps: [
        { line: 1, evaluation: { path: "test.jsonl", line: 4 }, words: numbered(3, 13) },
        { line: 3, evaluation: { path: "test.jsonl", line: 4 }, words: numbered(7, 13) },
      ],
      evaluationTexts: 1,
      uncheckedTexts: 0,
    });
  });

  it("takes a text of 8 to 12 words whole, and says how many were too short", () => {
    const texts = [...evaluation(numbered(0, 8)), ...evaluation(numbered(50, 7))];
    const records = recordsOf(
      { prompt: `a ${numbered(0, 8)} b` },
      { prompt: numbered(0, 7) },
      { prompt: numbered(50, 7) },
    );
    expect(findContamination(records, texts)).toMatchObject({
      overlaps: [{ line: 1, words: numbered(0, 8) }],
      evaluationTexts: 2,
      uncheckedTexts: 1,
    });
  });

  it("agrees with a search for the 13 words as text", () => {
    const word = fc.constantFrom("a", "b");
    const sentence = fc.array(word, { minLength: 13, maxLength: 24 });
    fc.assert(
      fc.property(sentence, sentence, (row, asked) => {
        const grams = asked.slice(0, asked.length - 12).map((_, i) => asked.slice(i, i + 13).join(" "));
        const isHit = grams.some((gram) => ` ${row.join(" ")} `.includes(` ${gram} `));
        const { score } = findContamination(
          recordsOf({ prompt: row.join(" ") }),
          evaluation(asked.join(" ")),
        );
        expect(score).toBe(isHit ? 0 : 1);
      }),
      { numRuns: 300 },
    );
  });
});

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-quality-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

it("readEvaluationTexts() takes every text of a row, however deep, and lines of plain files", async () => {
  const path = join(directory, "e.jsonl");
  writeFileSync(path, '{"question":"q","n":3,"options":["a",{"text":"b"}]}\n');
  expect(await readEvaluationTexts(path)).toEqual(["q", "a", "b"].map((text) => ({ path, line: 1, text })));
  const csv = join(directory, "e.csv");
  writeFileSync(csv, "one\ntwo");
  expect((await readEvaluationTexts(csv)).map(({ line, text }) => [line, text])).toEqual([
    [1, "one"],
    [2, "two"],
  ]);
  await expect(readEvaluationTexts(join(directory, "none.txt"))).rejects.toThrow("no such file");
});

const SENTENCES =
  "The first sentence is here and it is long enough to count. The second one goes on for a while and then";

describe("faultsOf()", () => {
  it.each<[string, string, Degeneracy[]]>([
    ["nothing", "", ["empty"]],
    ["white space", " \n\t", ["empty"]],
    ["an answer", "Paris.", []],
    ["a loop of words", "I am sorry. ".repeat(12), ["repeated"]],
    ["one sign", `Well, ${"a".repeat(20)}`, ["repeated"]],
    ["a loop without spaces", "对不起".repeat(12), ["repeated"]],
    ["a list whose items begin alike", "1. Use it. 2. Use it. 3. Then stop here and go.", []],
    ["an open code block", "Try:\n```ts\nconst a = 1;", ["truncated"]],
    ["a closed code block", "Try:\n```ts\nconst a = 1;\n```", []],
    ["JSON cut in a string", '{"name": "read_file", "path": "src/in', ["truncated"]],
    ["JSON cut after a value", '[{"a": 1}, {"b": 2}', ["truncated"]],
    ["whole JSON", '{"a": "}{", "b": [1]}', []],
    ["prose that ends within a sentence", SENTENCES, ["truncated"]],
    ["prose that ends", `${SENTENCES} stops.`, []],
    ["prose that ends with a list", `${SENTENCES} stops.\n- one thing\n- another thing`, []],
    ["prose that ends with hashtags", `${SENTENCES} stops. #Good #Words`, []],
    ["a query", "SELECT name FROM singer WHERE age > 20 ORDER BY age", []],
    ["the prompt", "What is the capital of France?", ["echo"]],
    ["a short prompt and an answer", "What is the capital of France? Paris.", []],
  ])("of %s", (_, text, faults) => {
    expect(faultsOf(text, "What is the capital of France?")).toEqual(faults);
  });

  it("calls a long prompt that comes again before the answer an echo", () => {
    const prompt = "Please name the capital of the French Republic now.";
    expect(faultsOf(`${prompt} Paris.`, prompt)).toEqual(["echo"]);
  });

  it("believes the reason that generation ended with, rather than the text", () => {
    expect(faultsOf("Paris.", "", "length")).toEqual(["truncated"]);
    expect(faultsOf(SENTENCES, "", "stop")).toEqual([]);
  });
});

it("findDegenerate() names line, side and fault, identical answers once per pair", () => {
  const records = recordsOf(pair("q", "a", "a "), pair("q", "a", " "), pair("q", "", ""), {
    ...pair("q", "Yes.", "No"),
    rejected_finish_reason: "length",
  });
  expect(findDegenerate(records)).toEqual([
    { line: 1, role: "chosen", fault: "identical" },
    { line: 2, role: "rejected", fault: "empty" },
    { line: 3, role: "chosen", fault: "empty" },
    { line: 3, role: "rejected", fault: "empty" },
    { line: 3, role: "chosen", fault: "identical" },
    { line: 4, role: "rejected", fault: "truncated" },
  ]);
  const [sampled] = recordsOf({ prompt: "q", completion: "a b", score: 1, stopReason: "length" });
  expect(findDegenerate([sampled!])).toEqual([{ line: 1, role: "completion", fault: "truncated" }]);
});

describe("preferenceGap()", () => {
  it("is the mean of score differences; lengths apart", () => {
    // Gaps 0.5, −0.1, 0: mean 0.4/3. Lengths 3:1, 1:3, 2:2 relative 0.5, −0.5, 0.
    const gap = preferenceGap(
      recordsOf(
        pair("q", "aaa", "b", { chosen_score: 0.9, rejected_score: 0.4 }),
        pair("q", "a", "bbb", { chosen_score: 0.3, rejected_score: 0.4 }),
        pair("q", "aa", "bb", { chosen_score: 1, rejected_score: 1 }),
      ),
    )!;
    expect(gap.score?.mean).toBeCloseTo(0.4 / 3, 12);
    expect(gap.score?.normalised).toBe(gap.score?.mean);
    expect(gap.score).toMatchObject({ pairs: 3, median: 0, inverted: 1, tied: 1 });
    expect(gap.length).toEqual({ relative: 0, chosenLonger: 0.5, equal: 1 });
  });

  it("is put on a scale of 1 where scores are not", () => {
    // Scores 2 … 10: range 8; gaps 6 and 2, mean 4.
    const rows = [
      pair("q", "a", "b", { score_chosen: 8, score_rejected: 2 }),
      pair("q", "a", "b", { score_chosen: 10, score_rejected: 8 }),
    ];
    expect(preferenceGap(recordsOf(...rows))?.score).toMatchObject({ mean: 4, normalised: 0.5 });
    const margins = [
      pair("q", "a", "b", { margin: 4 }),
      pair("q", "a", "b", { margin: 1 }),
      pair("q", "a", "b"),
    ];
    expect(preferenceGap(recordsOf(...margins))?.score).toMatchObject({
      pairs: 2,
      mean: 2.5,
      normalised: 0.625,
    });
  });

  it("of pairs that all tie is 0, and of pairs without scores unknown", () => {
    const tied = Array.from({ length: 3 }, () => pair("q", "a", "b", { chosen_score: 7, rejected_score: 7 }));
    expect(preferenceGap(recordsOf(...tied))?.score).toMatchObject({ mean: 0, normalised: 0, tied: 3 });
    expect(preferenceGap(recordsOf(pair("q", "a", "b")))?.score).toBeUndefined();
    expect(preferenceGap(recordsOf({ prompt: "q" }))).toBeUndefined();
  });
});

describe("categoryCoverage()", () => {
  const records = recordsOf(
    ...["tool", "tool", "style", undefined].map((category) => ({
      prompt: "p",
      ...(category ? { category } : {}),
    })),
  );

  it("counts every category, wanted or not", () => {
    const shares = categoryCoverage(records, { tool: 0.4, style: 0.3, guardrail: 0.3 });
    expect(shares).toEqual([
      { category: "tool", rows: 2, share: 0.5, target: 0.4 },
      { category: "(none)", rows: 1, share: 0.25, target: 0 },
      { category: "style", rows: 1, share: 0.25, target: 0.3 },
      { category: "guardrail", rows: 0, share: 0, target: 0.3 },
    ]);
    expect(coverageError(shares)).toEqual({ category: "guardrail", distance: 0.3 });
    expect(coverageError(categoryCoverage(records))).toBeUndefined();
  });

  it("refuses targets that are no shares", () => {
    expect(() => categoryCoverage(records, { tool: 0.4, style: 0.3 })).toThrow(
      "Cannot measure coverage: the targets add up to 0.7, expected 1 (tool=0.4, style=0.3)",
    );
    expect(() => categoryCoverage(records, { tool: 40 })).toThrow(
      'target of "tool" is 40, expected a share from 0 to 1',
    );
  });
});

describe("measureConsistency()", () => {
  it("finds pairs turned round and answers of both labels; identical answers contradict nothing", () => {
    expect(
      measureConsistency(
        recordsOf(pair("q", "a", "b"), pair("r", "a", "b"), pair("q", "b", "a"), pair("q", "c", "c")),
      ),
    ).toEqual({ contradictions: [[1, 3]] });
    const label = (completion: string, value: boolean) => ({ prompt: "q", completion, label: value });
    expect(measureConsistency(recordsOf(label("a", true), label("b", true), label("a", false)))).toEqual({
      contradictions: [[1, 3]],
      labels: { desirable: 2, undesirable: 1 },
    });
  });

  it("counts prompts whose outputs all have one score; a single output is no tie", () => {
    const scored = (prompt: string, score: number) => ({ prompt, completion: "a", score });
    const records = recordsOf(scored("q", 1), scored("Q", 1), scored("r", 1), scored("r", 0), scored("s", 1));
    expect(measureConsistency(records).scoreGroups).toEqual({ prompts: 2, tied: 1 });
  });
});

it("measureLengths() counts code points, or tokens, of each part", () => {
  const records = recordsOf(pair("😀😀", "a b c", ""), pair("p", "a", "bb"));
  const { unit, parts } = measureLengths(records);
  expect(unit).toBe("characters");
  expect(parts.prompt).toEqual({ count: 2, min: 1, mean: 1.5, median: 1.5, p95: 1.95, max: 2, longest: 1 });
  expect(parts.chosen).toMatchObject({ min: 1, max: 5, longest: 1 });
  expect(parts.rejected).toMatchObject({ min: 0, max: 2, longest: 2 });
  const words = measureLengths(records, (text) => text.split(" ").length);
  expect(words).toMatchObject({ unit: "tokens", parts: { chosen: { max: 3 } } });
});

it("messages are read by their contents", () => {
  const [record] = recordsOf({
    chosen: [
      { role: "system", content: "s" },
      { role: "user", content: "q" },
      { role: "assistant", content: null, tool_calls: [{ name: "f" }] },
    ],
    rejected: [
      { role: "system", content: "s" },
      { role: "user", content: "q" },
      { role: "assistant", content: "" },
    ],
  });
  expect((record as PreferencePair).prompt).toHaveLength(2);
  expect(findDegenerate([record!])).toEqual([{ line: 1, role: "rejected", fault: "empty" }]);
  expect(measureLengths([record!]).parts).toMatchObject({ prompt: { max: 3 }, chosen: { max: 14 } });
});
