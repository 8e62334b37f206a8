import { describe, expect, it } from "vitest";
import { parseRecord } from "../records/parse-record.js";
import { hashRecords } from "../records/read-records.js";
import { checkRecords, type DataLimits } from "./check-records.js";
import { type MeasureOptions, measureRecords } from "./measure.js";

function check(
  rows: readonly Record<string, unknown>[],
  limits: DataLimits = {},
  options: MeasureOptions = {},
) {
  const records = rows.map((row, i) => parseRecord(row, { line: i + 1, at: `d.jsonl:${i + 1}` }));
  const set = {
    path: "d.jsonl",
    kind: records[0]!.kind,
    records,
    fileHash: "",
    contentHash: hashRecords(records),
  };
  return checkRecords(measureRecords(set, options), limits);
}
const failed = (...given: Parameters<typeof check>): string[] =>
  check(...given)
    .filter(({ passed }) => !passed)
    .map(({ name, reason }) => `${name}: ${reason}`);

const pairs = (count: number, notes: Record<string, unknown> = {}) =>
  Array.from({ length: count }, (_, i) => ({
    prompt: `p ${i}`,
    chosen: `yes ${i}.`,
    rejected: `no ${i}.`,
    ...notes,
  }));
const labels = (desirable: number, undesirable: number) =>
  Array.from({ length: desirable + undesirable }, (_, i) => ({
    ...{ prompt: `p ${i}`, completion: `a ${i}.`, label: i < desirable },
  }));

describe("checkRecords()", () => {
  it("passes a thousand pairs with a gap, and names what applies", () => {
    const checks = check(pairs(1000, { margin: 0.15 }));
    expect(checks.map(({ name }) => name)).toEqual([
      ...["rows", "duplicates", "near_duplicates", "degenerate", "identical_answers", "contradictions"],
      "preference_gap",
    ]);
    expect(checks.filter(({ passed }) => !passed)).toEqual([]);
  });

  it("wants 1000 pairs unless told otherwise: a single pair is too few, but right", () => {
    expect(failed(pairs(999))).toEqual(["rows: 999 pairs; 999 is below 1000"]);
    expect(failed(pairs(1))).toEqual(["rows: 1 pair; 1 is below 1000"]);
    expect(failed(pairs(1), { minRows: 1 })).toEqual([]);
  });

  it("fails a gap just below 0.15, and one that ties throughout", () => {
    expect(failed(pairs(4, { margin: 0.1499 }), { minRows: 1 })).toEqual([
      "preference_gap: chosen is 0.1499 above rejected on average, 0.1499 of the scale, over 4 pairs (0 inverted, 0 tied); 0.1499 is below 0.15",
    ]);
    expect(failed(pairs(4, { chosen_score: 0.5, rejected_score: 0.5 }), { minRows: 1 })).toEqual([
      "preference_gap: chosen is 0 above rejected on average, 0 of the scale, over 4 pairs (0 inverted, 4 tied); 0 is below 0.15",
    ]);
    expect(failed(pairs(4), { minRows: 1, minGap: 0.2 })).toEqual([
      "preference_gap: no pair has chosen_score and rejected_score, or a margin, so that there is no gap to measure",
    ]);
  });

  it("fails labels of one class", () => {
    expect(failed(labels(20, 0))).toEqual([
      "label_balance: 20 answers are labelled true and 0 false: one class alone teaches nothing to tell apart; 0 is below 0.05",
    ]);
    expect(failed(labels(19, 1))).toEqual([]);
  });

  it("fails scores that all tie within their prompts", () => {
    const scored = (score: (i: number) => number) =>
      Array.from({ length: 6 }, (_, i) => ({ prompt: `p ${i % 3}`, completion: `a ${i}.`, score: score(i) }));
    expect(failed(scored(() => 1))).toEqual([
      "score_differences: 0 of 3 prompts with several outputs have scores that differ; 0 is below 1",
    ]);
    expect(failed(scored((i) => (i === 5 ? 0 : 1)))).toEqual([]);
  });

  it("fails identical answers, contradictions and repeated rows, with their lines", () => {
    const rows = [
      ...pairs(40),
      { prompt: "x", chosen: "same", rejected: "same" },
      { prompt: "p 0", chosen: "no 0.", rejected: "yes 0." },
      pairs(1)[0]!,
    ];
    const checks = check(rows, { minRows: 1 }).filter(({ passed }) => !passed);
    expect(checks.map(({ name, lines }) => [name, lines])).toEqual([
      ["duplicates", [43]],
      ["identical_answers", [41]],
      // The turned pair, and the first one once more after it.
      ["contradictions", [42, 43]],
    ]);
  });

  it("counts degenerate answers where they would be learned: chosen, not rejected", () => {
    const rows = pairs(10, { margin: 1 });
    expect(failed([...rows, { prompt: "q", chosen: "fine.", rejected: "" }], { minRows: 1 })).toEqual([]);
    expect(failed([...rows, { prompt: "q", chosen: " ", rejected: "fine." }], { minRows: 1 })).toEqual([
      "degenerate: 1 of 11 chosen answers are degenerate (1 empty); 0.0909 is above 0.01",
    ]);
  });

  it("judges prompts longer than a limit, on both sides of it", () => {
    const prompts = [{ prompt: "abcde" }, { prompt: "abc" }];
    expect(failed(prompts, { maxPromptLength: 5 })).toEqual([]);
    expect(failed(prompts, { maxPromptLength: 4 })).toEqual([
      "prompt_length: the longest has 5 characters, 1 of 2 are longer than the limit; 5 is above 4",
    ]);
    expect(check(prompts, { maxPromptLength: 4 }).at(-1)?.lines).toEqual([1]);
    expect(failed(labels(1, 1), { maxCompletionLength: 3 })).toEqual([
      "completion_length: the longest has 4 characters, 2 of 2 are longer than the limit; 4 is above 3",
    ]);
  });

  it("judges coverage and contamination where there is something to hold them against", () => {
    const rows = ["a", "a", "a", "b"].map((category, i) => ({ prompt: `p ${i}`, category }));
    const targets = { a: 0.5, b: 0.5 };
    expect(failed(rows, {}, { targets })).toEqual([
      'coverage: category "a" is furthest from its target: 75 % of the rows, wanted 50 %; 0.25 is above 0.05',
    ]);
    expect(failed(rows, { maxCoverageError: 0.25 }, { targets })).toEqual([]);
    const text = Array.from({ length: 13 }, (_, i) => `w${i}`).join(" ");
    const evaluation = [{ path: "e.jsonl", line: 1, text }];
    const contaminated = [...rows.slice(0, 3), { prompt: text }];
    expect(failed(contaminated, {}, { evaluation })).toEqual([
      "decontamination: 1 of 4 rows share 13 words with one of 1 evaluation texts; 0.75 is below 0.9",
    ]);
    expect(failed(contaminated, { minDecontamination: 0.75 }, { evaluation })).toEqual([]);
  });
});
