/** Rewards by hand: every row a completion or a set of scores, what it earns, and why. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import {
  formatGrade,
  type Grade,
  invalidReward,
  lengthGrade,
  readAnswer,
  rewardOf,
  totalReward,
  totalWeight,
  weightedReward,
} from "./index.js";

const part = (name: string, weight: number, grade: Grade) => ({ name, weight, grade });
const failed = invalidReward("the database is gone", "sandbox");

describe("weightedReward()", () => {
  it.each([
    // (1·2 + 0.5·1) / 3
    ["shares of the weights", [part("a", 2, { score: 1 }), part("b", 1, { score: 0.5 })], 2.5 / 3],
    ["weight 0 counts nothing", [part("a", 1, { score: 0 }), part("b", 0, { score: 1 })], 0],
    ["weights need not sum to 1", [part("a", 100, { score: 0.25 })], 0.25],
  ])("%s", (_, parts, expected) => {
    expect(weightedReward(parts)).toMatchObject({ kind: "value", value: expected });
  });

  it("gives exactly 1 to what scores 1 everywhere, whatever the weights", () => {
    const weights = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(weights, (list) => {
        fc.pre(list.some((weight) => weight > 1e-200));
        const reward = weightedReward(list.map((weight, i) => part(`c${i}`, weight, { score: 1 })));
        expect(reward).toMatchObject({ kind: "value", value: 1 });
      }),
      { seed: 5 },
    );
  });

  it("never leaves 0–1, and its components' shares sum to it", () => {
    const parts = fc.array(
      fc.tuple(fc.double({ min: 0.01, max: 9 }), fc.double({ min: 0, max: 1, noNaN: true })),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    fc.assert(
      fc.property(parts, (list) => {
        const reward = weightedReward(list.map(([weight, score], i) => part(`c${i}`, weight, { score })));
        if (reward.kind === "invalid") throw new Error(reward.reason);
        expect(reward.value).toBeGreaterThanOrEqual(0);
        expect(reward.value).toBeLessThanOrEqual(1);
        const shares = reward.components.reduce((sum, { score, weight }) => sum + score * weight, 0);
        expect(shares).toBeCloseTo(reward.value, 12);
      }),
      { seed: 5 },
    );
  });

  it("is invalid with any part that is, whatever that weighs, and says which and where", () => {
    expect(weightedReward([part("ok", 1, { score: 1 }), part("execution", 0, failed)])).toEqual({
      kind: "invalid",
      reason: "execution: the database is gone",
      boundary: "sandbox",
    });
  });

  it.each([1.2, -0.1, Number.NaN])("is invalid, not low, where a score is %s", (score) => {
    expect(weightedReward([part("odd", 1, { score })])).toEqual({
      kind: "invalid",
      reason: `component "odd" is ${score}, expected a number in 0–1`,
    });
  });

  it("keeps evidence", () => {
    expect(weightedReward([part("a", 4, { score: 0, evidence: "2 rows differ" })])).toEqual({
      kind: "value",
      value: 0,
      components: [{ name: "a", score: 0, weight: 1, evidence: "2 rows differ" }],
    });
  });
});

describe("totalWeight()", () => {
  it("refuses weights that nothing can be shared by", () => {
    expect(() => totalWeight({ a: 0, b: 0 })).toThrow(
      "Cannot weigh reward: every weight is 0 (a, b), expected at least one above 0",
    );
    expect(() => totalWeight({ a: -1 })).toThrow(
      'Cannot weigh reward component "a": its weight is -1, expected a finite number of 0 or more',
    );
    expect(() => totalWeight({ a: Number.POSITIVE_INFINITY })).toThrow(UserError);
  });
});

describe("rewardOf()", () => {
  it("sums score times weight", () => {
    // 0.5·2 − 1·0.25
    expect(
      rewardOf([
        { name: "a", score: 0.5, weight: 2 },
        { name: "b", score: 1, weight: -0.25 },
      ]),
    ).toMatchObject({ kind: "value", value: 0.75 });
  });

  it.each([
    [Number.NaN, 1],
    [1, Number.POSITIVE_INFINITY],
  ])("is invalid with score %s and weight %s", (score, weight) => {
    expect(rewardOf([{ name: "a", score, weight }]).kind).toBe("invalid");
  });
});

describe("totalReward()", () => {
  const turn = (value: number) => rewardOf([{ name: "a", score: value, weight: 1 }]);

  it("sums the turns", () => {
    expect(totalReward([turn(0), turn(0.5), turn(0.25)])).toMatchObject({ kind: "value", value: 0.75 });
  });

  it("is invalid with any turn that is", () => {
    expect(totalReward([turn(1), failed, turn(1)])).toEqual(failed);
  });
});

describe("lengthGrade()", () => {
  // full up to 10, nothing from 20, linear between
  it.each([
    [0, 1],
    [10, 1],
    [11, 0.9],
    [15, 0.5],
    [19, 0.1],
    [20, 0],
    [1e9, 0],
  ])("of %s is %s", (length, expected) => {
    const grade = lengthGrade(length, { full: 10, zero: 20 });
    expect("score" in grade && grade.score).toBeCloseTo(expected, 12);
  });

  it("refuses a band that does not fall", () => {
    expect(() => lengthGrade(1, { full: 20, zero: 20 })).toThrow(
      "Cannot grade length: the band falls from 20 to 20, expected 0 <= full < zero",
    );
  });
});

const sql = "```sql\nSELECT 1\n```";

describe("readAnswer() and formatGrade(), fenced", () => {
  it.each([
    ["as asked", sql, "SELECT 1", undefined],
    ["words around it", `Sure!\n${sql}\nDone.`, "SELECT 1", undefined],
    ["another fence mark", "~~~\nSELECT 1\n~~~", "SELECT 1", undefined],
    ["a longer fence around a shorter one", "````sql\n```\n````", "```", undefined],
    ["Windows line ends", "```sql\r\nSELECT 1\r\n```\r\n", "SELECT 1", undefined],
    ["never closed", "```sql\nSELECT 1", "SELECT 1", "the fence is never closed"],
    ["closed by another mark", "```sql\nSELECT 1\n~~~", "SELECT 1\n~~~", "the fence is never closed"],
    ["closed with words behind", "```sql\nSELECT 1\n``` ok", "SELECT 1\n``` ok", "the fence is never closed"],
    ["no fence", "SELECT 1", "SELECT 1", "there is no fence"],
    [
      "several answers, to have one of them right",
      `${sql}\n${sql.replace("1", "2")}`,
      "SELECT 1",
      "2 fences, expected 1",
    ],
    ["a second fence left open", `${sql}\n\`\`\`sql\nSELECT 2`, "SELECT 1", "a second fence is never closed"],
    ["nothing in it", "```sql\n\n```", "", "the fence is empty"],
    ["another language", "```python\nprint(1)\n```", "print(1)", 'the fence says "python", expected "sql"'],
    ["empty", "", "", "there is no fence"],
  ])("%s", (_, text, answer, problem) => {
    const read = readAnswer(text, "fenced", { languages: ["sql"] });
    expect(read).toEqual(problem === undefined ? { answer } : { answer, problem });
    expect(formatGrade(read)).toEqual(problem === undefined ? { score: 1 } : { score: 0, evidence: problem });
  });
});

describe("readAnswer() and formatGrade(), bare", () => {
  it.each([
    ["as asked", " SELECT 1 ", "SELECT 1", undefined],
    ["fenced all the same", sql, "SELECT 1", "the answer is fenced, expected nothing but the answer"],
    ["white space alone", " \n", "", "the completion is empty"],
  ])("%s", (_, text, answer, problem) => {
    const read = readAnswer(text, "bare");
    expect(read).toEqual(problem === undefined ? { answer } : { answer, problem });
  });

  it("gives nothing to a completion that is cut off", () => {
    expect(formatGrade({ answer: "SELECT 1" }, { isTruncated: true })).toEqual({
      score: 0,
      evidence: "cut off at the token limit",
    });
  });
});
