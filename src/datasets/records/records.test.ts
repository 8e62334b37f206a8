import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../../base/index.js";
import { loadRecords, promptKey, type ReadRecordsOptions, readRecords, recordKey } from "./read-records.js";
import { answersOf, type DataRecord, outputExample, pairExamples, promptText } from "./record.js";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-records-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function records(rows: readonly unknown[], options: ReadRecordsOptions = {}): Promise<DataRecord[]> {
  const path = join(directory, "d.jsonl");
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  const found: DataRecord[] = [];
  for await (const record of readRecords(path, options)) found.push(record);
  return found;
}

async function refusal(rows: readonly unknown[], options: ReadRecordsOptions = {}): Promise<string> {
  const thrown = await records(rows, options).then(
    (found) => JSON.stringify(found),
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(UserError);
  return (thrown as UserError).message.replaceAll(`${directory}/`, "");
}

const user = { role: "user", content: "What color is the sky?" };
const blue = { role: "assistant", content: "It is blue." };
const green = { role: "assistant", content: "It is green." };

describe("readRecords() recognises every shape that TRL documents", () => {
  // The rows of https://huggingface.co/docs/trl/dataset_formats, both formats of every type that preferences use.
  it.each<[string, Record<string, unknown>, Record<string, unknown>]>([
    ["prompt-only", { prompt: "The sky is" }, { kind: "prompt", prompt: "The sky is" }],
    ["prompt-only chat", { prompt: [user] }, { kind: "prompt", prompt: [user] }],
    [
      "preference",
      { prompt: "The sky is", chosen: " blue.", rejected: " green." },
      { kind: "preference", prompt: "The sky is", chosen: " blue.", rejected: " green." },
    ],
    [
      "preference, implicit prompt",
      { chosen: "The sky is blue.", rejected: "The sky is green." },
      { kind: "preference", prompt: "The sky is", chosen: " blue.", rejected: " green." },
    ],
    [
      "preference chat",
      { prompt: [user], chosen: [blue], rejected: [green] },
      { kind: "preference", prompt: [user], chosen: [blue], rejected: [green] },
    ],
    [
      "preference chat, implicit prompt",
      { chosen: [user, blue], rejected: [user, green] },
      { kind: "preference", prompt: [user], chosen: [blue], rejected: [green] },
    ],
    [
      "preference chat, implicit prompt beside its text (UltraFeedback)",
      { prompt: user.content, chosen: [user, blue], rejected: [user, green] },
      { kind: "preference", prompt: [user], chosen: [blue], rejected: [green] },
    ],
    [
      "unpaired",
      { prompt: "The sky is", completion: " blue.", label: true },
      { kind: "unpaired", prompt: "The sky is", completion: " blue.", label: true },
    ],
    [
      "unpaired chat",
      { prompt: [user], completion: [green], label: false },
      { kind: "unpaired", prompt: [user], completion: [green], label: false },
    ],
    [
      "scored",
      { prompt: "The sky is", completion: " blue.", score: 0.75, temperature: 0.7 },
      { kind: "scored", prompt: "The sky is", completion: " blue.", score: 0.75 },
    ],
    ["language modelling", { text: "The sky is blue." }, { kind: "demonstration" }],
    ["messages", { messages: [user, blue] }, { kind: "demonstration" }],
    ["prompt-completion", { prompt: "a", completion: "b" }, { kind: "demonstration" }],
  ])("%s", async (_, row, expected) => {
    expect(await records([row])).toMatchObject([{ ...expected, line: 1, row }]);
  });

  it("keeps notes under the names data sets use", async () => {
    const row = {
      ...{ prompt: "p", chosen: "a", rejected: "b", score_chosen: 9, score_rejected: 6.5, margin: 2.5 },
      ...{ category: "style", tags: ["terse"], annotator: 7, timestamp: "2026-11-21", source: "x" },
    };
    expect(await records([row])).toEqual([
      {
        ...{ kind: "preference", line: 1, row, prompt: "p", chosen: "a", rejected: "b" },
        ...{ chosenScore: 9, rejectedScore: 6.5, margin: 2.5, category: "style", tags: ["terse"] },
        ...{ annotator: "7", timestamp: "2026-11-21" },
      },
    ]);
  });

  it("renames columns, wraps text as chat, and keeps the row as the file has it", async () => {
    const row = { question: "q", good: "a", bad: "b", topic: "style" };
    const columns = { prompt: "question", chosen: "good", rejected: "bad", category: "topic" };
    expect(await records([row], { mapping: { columns, asChat: true, system: "s" } })).toEqual([
      {
        ...{ kind: "preference", line: 1, row, category: "style" },
        prompt: [
          { role: "system", content: "s" },
          { role: "user", content: "q" },
        ],
        chosen: [{ role: "assistant", content: "a" }],
        rejected: [{ role: "assistant", content: "b" }],
      },
    ]);
  });

  it("--kind settles a file with the columns of two kinds", async () => {
    const row = {
      prompt: user.content,
      chosen: [user, blue],
      rejected: [user, green],
      messages: [user, blue],
    };
    expect(await records([row], { kind: "preference" })).toMatchObject([{ chosen: [blue] }]);
    expect(await records([row], { kind: "demonstration" })).toMatchObject([
      { example: { messages: [user, blue] } },
    ]);
  });
});

describe("an implicit prompt", () => {
  it.each<[string, string, string, string, string, string]>([
    ["ends where a word does, not inside it", "is blue", "is black", "is", " blue", " black"],
    ["keeps the line break before an answer", "Q: 1\n\nA: x", "Q: 1\n\nA: y", "Q: 1\n\nA:", " x", " y"],
    ["is cut anywhere where words have no spaces", "天空是蓝色", "天空是绿色", "天空是", "蓝色", "绿色"],
    ["never splits a surrogate pair", "so 😀", "so 😁", "so", " 😀", " 😁"],
    ["may leave one answer empty, for the checks to find", "a b", "a b c", "a b", "", " c"],
  ])("%s", async (_, chosen, rejected, prompt, first, second) => {
    expect(await records([{ chosen, rejected }])).toMatchObject([
      { prompt, chosen: first, rejected: second },
    ]);
  });

  it("holds turns that both conversations share, and finds the answer of identical ones", async () => {
    const more = { role: "user", content: "Sure?" };
    expect(
      await records([
        { chosen: [user, blue, more, blue], rejected: [user, blue, more, green] },
        { chosen: [user, blue], rejected: [user, { ...blue, tool_calls: null }] },
      ]),
    ).toMatchObject([
      { prompt: [user, blue, more], chosen: [blue], rejected: [green] },
      { prompt: [user], chosen: [blue], rejected: [{ role: "assistant", content: "It is blue." }] },
    ]);
  });

  it("--prompt-in settles answers that repeat the prompt", async () => {
    const row = { prompt: "Say hi.", chosen: "Say hi. Hi!", rejected: "Say hi. No." };
    expect(await records([row], { promptIn: "answers" })).toMatchObject([
      { prompt: "Say hi.", chosen: " Hi!", rejected: " No." },
    ]);
    expect(await records([row], { promptIn: "column" })).toMatchObject([
      { prompt: "Say hi.", chosen: "Say hi. Hi!", rejected: "Say hi. No." },
    ]);
  });
});

it.each<[string, readonly unknown[], string]>([
  [
    "answers that repeat the prompt",
    [{ prompt: [user], chosen: [user, blue], rejected: [user, green] }],
    'Cannot tell where the prompt of d.jsonl:1 ends: chosen and rejected both begin with all of "prompt", so that it would come twice, expected it either in its column or in the answers. Say which with --prompt-in answers (they hold it) or --prompt-in column (they repeat it on purpose)',
  ],
  [
    "a text prompt that the conversations do not hold",
    [{ prompt: "Where?", chosen: [user, blue], rejected: [user, green] }],
    'Cannot tell what the prompt of d.jsonl:1 is: "prompt" is "Where?", but what chosen and rejected begin with says otherwise, expected the same. Make prompt a list of messages, or leave it out',
  ],
  [
    "columns of two kinds",
    [{ prompt: "p", completion: "c", label: true, score: 1 }],
    'Cannot tell what d.jsonl:1 is: its columns "prompt", "completion", "label", "score" fit "prompt", "completion" and "label" (unpaired) and "prompt", "completion" and "score" (scored), expected one of them. Say which with --kind unpaired or --kind scored',
  ],
  [
    "a pair without its other half",
    [{ prompt: "p", chosen: "c", rejectd: "d" }],
    'Cannot read d.jsonl:1 as preference: the row has no "rejected" (it has "prompt", "chosen", "rejectd"), expected "chosen" and "rejected", with or without "prompt". Did you mean "rejectd"? Then name it with --columns rejected=rejectd',
  ],
  [
    "a label that is no truth value",
    [{ prompt: "p", completion: "c", label: 1 }],
    "Cannot read d.jsonl:1: label is 1, expected true (a desirable answer) or false. If the column means something else, read the file with --kind demonstration",
  ],
  [
    "a score that is text",
    [{ prompt: "p", completion: "c", score: "0.5" }],
    'Cannot read d.jsonl:1: score is text "0.5", expected a number',
  ],
  [
    "answers of two forms",
    [{ prompt: "p", chosen: "c", rejected: [green] }],
    "Cannot read d.jsonl:1: prompt is text and rejected is a list of messages, expected the same form in all. Write both as messages, or both as text",
  ],
  [
    "answers without a common beginning",
    [{ chosen: "Yes", rejected: "No" }],
    'Cannot find the prompt of d.jsonl:1: chosen and rejected begin with different words, expected the same prompt in both. Give the row a "prompt" of its own',
  ],
  [
    "identical texts without a prompt",
    [{ chosen: "Yes", rejected: "Yes" }],
    'Cannot find the prompt of d.jsonl:1: chosen and rejected are the same text, so nothing says where the prompt ends. Give the row a "prompt" of its own',
  ],
  [
    "a conversation that ends where the other goes on",
    [{ chosen: [user, blue, user], rejected: [user, blue] }],
    'Cannot find the prompt of d.jsonl:1: rejected ends where the other goes on (after 2 messages), expected an answer of its own. Give the row a "prompt" of its own',
  ],
  [
    "a row of another kind than the first",
    [{ prompt: "p", chosen: "a", rejected: "b" }, { prompt: "p" }],
    "Cannot read d.jsonl:2: the row is prompt (text), expected preference (text) as in line 1. Put rows of different kinds into different files",
  ],
  [
    "columns of no kind",
    [{ question: "p", answer: "b" }],
    'Cannot tell what d.jsonl:1 is: it has "question", "answer", expected "chosen" and "rejected", with or without "prompt" (preference); "prompt", "completion" and "label" (unpaired); "prompt", "completion" and "score" (scored); "prompt" alone (prompt); "messages", "prompt" and "completion", or "text" (demonstration). Name the columns, for example --columns prompt=question',
  ],
])("readRecords() refuses %s", async (_, rows, message) => {
  expect(await refusal(rows)).toBe(message);
});

it("loadRecords() takes a single pair, and refuses a file without rows", async () => {
  const path = join(directory, "one.jsonl");
  writeFileSync(path, '{"prompt":"p","chosen":"a","rejected":"b"}\r\n');
  expect(await loadRecords(path)).toMatchObject({ kind: "preference", records: [{ line: 1 }] });
  writeFileSync(path, "\n\n");
  await expect(loadRecords(path)).rejects.toThrow(
    new UserError(`Cannot read ${path}: it has no rows, expected at least one`),
  );
});

it("recordKey() is of what a record says, and promptKey() of its prompt but for case and white space", async () => {
  const [a, b, c, d] = await records([
    { prompt: "P q", chosen: "a", rejected: "b", category: "x" },
    { chosen: "a", rejected: "b", prompt: "P q", id: 7 },
    { prompt: " p  Q", chosen: "a", rejected: "b" },
    { prompt: "P q", chosen: "b", rejected: "a" },
  ]);
  expect(recordKey(b!)).toBe(recordKey(a!));
  expect(recordKey(c!)).not.toBe(recordKey(a!));
  expect(recordKey(d!)).not.toBe(recordKey(a!));
  expect(new Set([a, b, c, d].map((record) => promptKey(record!))).size).toBe(1);
});

it("pairs and outputs become examples with one prompt, which the tokenisation of supervised rows takes", async () => {
  const [pair] = await records([{ prompt: [user], chosen: [blue], rejected: [green], tools: [{}] }]);
  if (pair?.kind !== "preference") throw new Error("expected a pair");
  const sides = { kind: "messages", prompt: [user] };
  expect(pairExamples(pair)).toMatchObject({
    chosen: { shape: "prompt_completion", line: 1, sides: { ...sides, completion: [blue] }, tools: [{}] },
    rejected: { shape: "prompt_completion", line: 1, sides: { ...sides, completion: [green] }, tools: [{}] },
  });
  expect([promptText(pair), answersOf(pair)]).toEqual([
    "What color is the sky?",
    [
      { role: "chosen", text: "It is blue." },
      { role: "rejected", text: "It is green." },
    ],
  ]);
  const [output] = await records([{ prompt: "p", completion: "", label: false }]);
  if (output?.kind !== "unpaired") throw new Error("expected a label");
  expect(outputExample(output).sides).toEqual({ kind: "text", prompt: "p", completion: "" });
});
