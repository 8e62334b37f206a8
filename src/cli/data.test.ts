/** `hone data` as a user runs it: files in, output and exit code out. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { namedColumns, namedShares } from "./data-program.js";

const MAIN = join(import.meta.dirname, "../../dist/cli/main.js");
const GOLDEN = join(import.meta.dirname, "../../tests/golden/parquet");

beforeAll(() => {
  expect(existsSync(MAIN), "dist/cli/main.js is missing: run `npm run build` first").toBe(true);
});

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-data-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function hone(...words: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, "data", ...words], {
    encoding: "utf8",
    cwd: directory,
  });
  return { code: status, stdout, stderr };
}

function write(name: string, rows: readonly unknown[]): void {
  writeFileSync(join(directory, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

const pairs = (count: number) =>
  Array.from({ length: count }, (_, i) => ({
    ...{ prompt: `Question ${i}?`, chosen: `Yes, ${i}.`, rejected: `No, ${i}.` },
    ...{ margin: 0.5, category: i % 4 === 0 ? "style" : "tool" },
  }));

it("hone data check exits with 0 when every limit is kept, with 1 and the reason when one is not", () => {
  write("pairs.jsonl", pairs(40));
  expect(hone("check", "pairs.jsonl", "--min-rows", "40")).toEqual({
    code: 0,
    stdout: [
      "passed  rows: 40 pairs",
      "passed  duplicates: 0 rows of 40 repeat another",
      "passed  near_duplicates: 0 rows of 40 nearly repeat another",
      "passed  degenerate: 0 of 40 chosen answers are degenerate",
      "passed  identical_answers: 0 pairs of 40 have the same text as chosen and rejected, which no loss can tell apart",
      "passed  contradictions: 0 rows of 40 say the opposite of another row",
      "passed  preference_gap: chosen is 0.5 above rejected on average, 0.5 of the scale, over 40 pairs (0 inverted, 0 tied)",
      "All 7 checks of pairs.jsonl passed",
      "",
    ].join("\n"),
    stderr: "",
  });
  const { code, stdout, stderr } = hone(
    ...["check", "pairs.jsonl", "--min-rows", "40", "--coverage", "style=0.5,tool=0.5"],
    ...["--max-prompt-length", "11", "-o", "report"],
  );
  expect([code, stderr]).toEqual([1, ""]);
  expect(stdout).toContain(
    'FAILED  coverage: category "tool" is furthest from its target: 75 % of the rows, wanted 50 %; 0.25 is above 0.05\n',
  );
  expect(stdout).toContain(
    "FAILED  prompt_length: the longest has 12 characters, 30 of 40 are longer than the limit; 12 is above 11 (pairs.jsonl:11, 12, 13, 14, 15)\n2 of 9 checks of pairs.jsonl failed: coverage, prompt_length\n",
  );
  expect(readdirSync(join(directory, "report")).sort()).toEqual(["report.html", "report.json", "report.md"]);
  expect(readFileSync(join(directory, "report/report.html"), "utf8")).toContain("<svg ");
});

it("hone data check finds rows of a Parquet file in an evaluation set, and prints records with --json", () => {
  write("test.jsonl", [
    { q: "Where did the old fisherman hide his seven golden coins before the great storm began?" },
  ]);
  write("rows.jsonl", [
    {
      question: "Tell me: where did the old fisherman hide his seven golden coins, before the great storm?",
      answer: "x.",
    },
    { question: "Where?", answer: "y." },
  ]);
  const words = ["--columns", "prompt=question,completion=answer", "--evaluation", "test.jsonl", "--json"];
  const { code, stdout } = hone("check", "rows.jsonl", ...words);
  const lines = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(code).toBe(1);
  expect(lines.find(({ name }) => name === "decontamination")).toMatchObject({
    ...{ type: "check", passed: false, measured: 0.5, limit: 0.9, lines: [1] },
  });
  expect(lines.at(-1)).toMatchObject({ type: "summary", kind: "demonstration", rows: 2, passed: false });
  expect(hone("check", join(GOLDEN, "pairs-zstd.parquet"), "--min-rows", "25").stdout).toContain("25 pairs");
});

it("a mistake exits with 2 and one message: a malformed line, columns of no kind, a file that is not there", () => {
  writeFileSync(
    join(directory, "a.jsonl"),
    '{"prompt":"p","chosen":"a","rejected":"b"}\n{"prompt":"p","chosen":\n',
  );
  expect(hone("check", "a.jsonl")).toEqual({
    code: 2,
    stdout: "",
    stderr:
      'Cannot read a.jsonl:2:24: found the end of the line, expected a JSON value in {"prompt":"p","chosen":⟨here⟩. Every line must be one whole JSON object; fix or delete this line\n',
  });
  expect(hone("stats", "none.jsonl")).toMatchObject({
    code: 2,
    stderr: "Cannot read none.jsonl: no such file, expected a file of JSON Lines, Parquet or a JSON array\n",
  });
  expect(hone("stats", "a.jsonl", "--columns", "promt=p")).toMatchObject({ code: 2 });
  write("b.jsonl", [{ prompt: "p", completion: "c", label: "good" }]);
  expect(hone("stats", "b.jsonl")).toMatchObject({
    code: 2,
    stderr:
      'Cannot read b.jsonl:1: label is "good", expected true (a desirable answer) or false. If the column means something else, read the file with --kind demonstration\n',
  });
});

it("hone data split writes splits without a common prompt and their lineage, which stats shows and checks", () => {
  write("pairs.jsonl", [...pairs(20), ...pairs(20)]);
  expect(
    hone("split", "pairs.jsonl", "-o", "out", "--shares", "train=0.8,test=0.2", "--seed", "1").stdout,
  ).toBe(
    [
      "out/train.jsonl  32 rows (80.0 %)",
      "out/test.jsonl  8 rows (20.0 %)",
      "No prompt is in two splits. out/dataset.json says which rows of pairs.jsonl are where",
      "",
    ].join("\n"),
  );
  const prompts = (name: string): Set<unknown> =>
    new Set(
      readFileSync(join(directory, "out", name), "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).prompt),
    );
  const [train, test] = [prompts("train.jsonl"), prompts("test.jsonl")];
  expect([train.size, test.size, [...test].filter((prompt) => train.has(prompt))]).toEqual([16, 4, []]);
  expect(hone("stats", "out/test.jsonl").stdout).toMatch(
    /Made by hone data split \(.*"seed":1.*\) from 8 of 40 rows of pairs\.jsonl .*The file is as it was written\.\n$/,
  );
  writeFileSync(join(directory, "out/test.jsonl"), `${JSON.stringify(pairs(1)[0])}\n`);
  expect(hone("stats", "out/test.jsonl").stdout).toContain("THE FILE WAS CHANGED since.");
  expect(hone("split", "pairs.jsonl", "-o", "out")).toMatchObject({ code: 2 });
});

it("hone data diff names what one file has and the other lacks", () => {
  write("a.jsonl", pairs(4));
  write("b.jsonl", [...pairs(5).slice(1)].reverse());
  expect(hone("diff", "a.jsonl", "a.jsonl").stdout).toBe("a.jsonl and a.jsonl say the same, row by row\n");
  const { code, stdout } = hone("diff", "a.jsonl", "b.jsonl");
  expect(code).toBe(0);
  expect(stdout.split("\n").slice(0, 6)).toEqual([
    "         in both  removed  added",
    "rows           3        1      1",
    "prompts        3        1      1",
    "Prompts in both whose rows changed: 0",
    "Removed: a.jsonl:1",
    "Added: b.jsonl:1",
  ]);
});

it("hone data agreement prints kappas and writes pairs by majority, never over a file", () => {
  const votes = [
    [1, 1, 1],
    [2, 2, 1],
    [0, 0, 0],
    [1, 2, 0],
  ];
  const rows = votes.map(([annotator1, annotator2, annotator3], i) => ({
    ...{ instruction: `Do ${i}`, input: "", response1: "a", response2: "b" },
    ...{ annotator1, annotator2, annotator3 },
  }));
  writeFileSync(join(directory, "c.json"), JSON.stringify(rows, null, 1));
  const { code, stdout } = hone("agreement", "c.json", "-o", "pairs.jsonl");
  expect(code).toBe(0);
  // Annotators 1 and 2 agree on 3 of 4; shares (0, 1, 2): (¼, ½, ¼) and (¼, ¼, ½), p_e = 5/16: κ = 7/11.
  expect(stdout).toContain("annotator1 and annotator2  Cohen     75 %    0.6364\n");
  expect(stdout).toContain(
    "By majority: 2 pairs; left out 1 ties and 1 without a majority\nWrote pairs.jsonl\n",
  );
  expect(JSON.parse(readFileSync(join(directory, "pairs.jsonl"), "utf8").split("\n")[1]!)).toMatchObject({
    ...{ prompt: "Do 1", chosen: "b", rejected: "a", margin: 1 / 3, source: "c.json", source_line: 2 },
  });
  expect(hone("agreement", "c.json", "-o", "pairs.jsonl")).toMatchObject({
    code: 2,
    stderr: "Cannot write pairs.jsonl: it already exists, expected a new file\n",
  });
});

it("options with names are parsed whole or refused", () => {
  expect(namedShares("a=0.25, b=.75")).toEqual({ a: 0.25, b: 0.75 });
  expect(() => namedShares("a=0.25,b")).toThrow('Expected name=share, separated by commas, found "b".');
  expect(() => namedShares("a=x")).toThrow('Expected a number after "a=", found "x".');
  expect(namedColumns("category=topic", { prompt: "q" })).toEqual({ prompt: "q", category: "topic" });
  expect(() => namedColumns("promt=q")).toThrow('Column "promt" is none of ours');
});
