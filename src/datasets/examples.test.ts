import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { type ColumnMapping, templateColumns } from "./columns.js";
import { type Example, readExamples } from "./examples.js";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-examples-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function examples(rows: readonly unknown[], mapping: ColumnMapping = {}): Promise<Example[]> {
  const path = join(directory, "d.jsonl");
  writeFileSync(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  const found: Example[] = [];
  for await (const example of readExamples(path, mapping)) found.push(example);
  return found;
}

async function refusal(rows: readonly unknown[], mapping: ColumnMapping = {}): Promise<string> {
  const thrown = await examples(rows, mapping).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(UserError);
  return (thrown as UserError).message.replaceAll(`${directory}/`, "");
}

const user = { role: "user", content: "hi" };
const assistant = { role: "assistant", content: "hello" };

describe("readExamples()", () => {
  it("reads the three shapes and keeps other columns aside", async () => {
    expect(await examples([{ text: "abc", id: 7 }])).toEqual([
      { shape: "text", line: 1, extra: { id: 7 }, text: "abc" },
    ]);
    expect(await examples([{ prompt: "q", completion: "a" }])).toEqual([
      {
        shape: "prompt_completion",
        line: 1,
        extra: {},
        sides: { kind: "text", prompt: "q", completion: "a" },
      },
    ]);
    expect(await examples([{ prompt: [user], completion: [assistant], tools: [{ name: "t" }] }])).toEqual([
      {
        shape: "prompt_completion",
        line: 1,
        extra: {},
        sides: { kind: "messages", prompt: [user], completion: [assistant] },
        tools: [{ name: "t" }],
      },
    ]);
    expect(await examples([{ messages: [user, assistant], source: "x" }])).toEqual([
      { shape: "messages", line: 1, extra: { source: "x" }, messages: [user, assistant] },
    ]);
  });

  it("takes a call of tools without content, keeping the call", async () => {
    const call = { role: "assistant", tool_calls: [{ function: { name: "f" } }] };
    expect(await examples([{ messages: [user, call] }])).toEqual([
      { shape: "messages", line: 1, extra: {}, messages: [user, { ...call, content: null }] },
    ]);
  });

  it.each<[string, readonly unknown[], ColumnMapping, string]>([
    [
      "a row that is both",
      [{ text: "a", messages: [user] }],
      {},
      'Cannot read d.jsonl:1: the row has both "messages" and "text", expected one of them. Say which one counts in data.columns, for example columns: { messages: messages }',
    ],
    [
      "another shape than the first row's",
      [{ text: "a" }, { prompt: "a", completion: "b" }],
      {},
      'Cannot read d.jsonl:2: the row has "prompt" and "completion" with text on both sides, expected "text" as in line 1. Put rows of different shape into different files',
    ],
    [
      "columns of other names",
      [{ question: "a", answer: "b" }],
      {},
      'Cannot read d.jsonl:1: the row has columns "question", "answer", expected "messages", "prompt" and "completion", or "text". Name the columns in data.columns, for example columns: { prompt: question, completion: answer }',
    ],
    [
      "a misspelt column",
      [{ mesages: [user] }],
      {},
      'Cannot read d.jsonl:1: the row has columns "mesages", expected "messages", "prompt" and "completion", or "text". Did you mean data.columns: { messages: mesages }?',
    ],
    [
      "a prompt alone",
      [{ prompt: "a", response: "b" }],
      {},
      'Cannot read d.jsonl:1: the row has columns "prompt", "response", expected "completion" beside "prompt". Name the columns in data.columns, for example columns: { prompt: prompt, completion: response }',
    ],
    [
      "a list",
      [[1]],
      {},
      'Cannot read d.jsonl:1: the row is a list, expected an object such as {"prompt": …, "completion": …}',
    ],
    [
      "content of another type",
      [{ messages: [user, { role: "assistant", content: 3 }] }],
      {},
      "Cannot read d.jsonl:1: messages[1].content is 3, expected text",
    ],
    [
      "a message without content",
      [{ messages: [user, { role: "assistant" }] }],
      {},
      'Cannot read d.jsonl:1: messages[1].content of role "assistant" is missing, expected text or tool_calls',
    ],
    [
      "no messages",
      [{ messages: [] }],
      {},
      "Cannot read d.jsonl:1: messages is an empty list, expected at least 1 items",
    ],
    [
      "text on one side only",
      [{ prompt: "a", completion: [assistant] }],
      {},
      "Cannot read d.jsonl:1: prompt is text and completion is a list of messages, expected the same on both sides",
    ],
    [
      "a completion that is neither",
      [{ prompt: "a", completion: 5 }],
      {},
      "Cannot read d.jsonl:1: completion is 5, expected text or a list",
    ],
    [
      "a prompt message without role",
      [{ prompt: [{ content: "x" }], completion: [assistant] }],
      {},
      "Cannot read d.jsonl:1: prompt[0].role is missing, expected text",
    ],
    [
      "a mapped column that is not there",
      [{ question: "a", answer: "b" }],
      { columns: { prompt: "qestion", completion: "answer" } },
      'Cannot read d.jsonl:1: the row has no column "qestion", which data.columns.prompt names, expected one of "question", "answer". Did you mean "question"?',
    ],
    [
      "a template's column that is not there",
      [{ question: "a", answer: "b" }],
      { promptTemplate: "Q: {query}", columns: { completion: "answer" } },
      'Cannot read d.jsonl:1: the row has no column "query", which template "Q: {query}" names, expected one of "question", "answer"',
    ],
    [
      "a template with a lone brace",
      [{ question: "a", answer: "b" }],
      { promptTemplate: "f() { {question}", columns: { completion: "answer" } },
      'Cannot use template "f() { {question}": lone "{" at character 5, expected {column}. Write {{ for a literal brace',
    ],
  ])("refuses %s", async (_, rows, mapping, message) => {
    expect(await refusal(rows, mapping)).toBe(message);
  });
});

describe("mapColumns()", () => {
  const row = { question: "How many?", query: "SELECT 1", db_id: "x", n: 4 };

  it("renames columns and leaves the others aside", async () => {
    expect(await examples([row], { columns: { prompt: "question", completion: "query" } })).toEqual([
      {
        shape: "prompt_completion",
        line: 1,
        extra: { db_id: "x", n: 4 },
        sides: { kind: "text", prompt: "How many?", completion: "SELECT 1" },
      },
    ]);
  });

  it("fills templates from any column, with numbers as text and doubled braces as braces", async () => {
    const mapping = { promptTemplate: "{{{db_id}}} {n}. {question}\nSQL:", completionTemplate: " {query}" };
    const [example] = await examples([row], mapping);
    expect(example).toMatchObject({ sides: { prompt: "{x} 4. How many?\nSQL:", completion: " SELECT 1" } });
    expect(templateColumns(mapping.promptTemplate)).toEqual(["db_id", "n", "question"]);
  });

  it("settles an ambiguous file: what is mapped counts, the other shape does not", async () => {
    const both = { text: "t", messages: [user, assistant] };
    expect(await examples([both], { columns: { text: "text" } })).toMatchObject([
      { shape: "text", text: "t" },
    ]);
    expect(await examples([both], { columns: { messages: "messages" } })).toMatchObject([
      { shape: "messages" },
    ]);
  });

  it("wraps text as chat, with a system message where one is given", async () => {
    const mapping = {
      columns: { prompt: "question", completion: "query" },
      asChat: true,
      system: "Write SQL",
    };
    expect(await examples([row], mapping)).toMatchObject([
      {
        sides: {
          kind: "messages",
          prompt: [
            { role: "system", content: "Write SQL" },
            { role: "user", content: "How many?" },
          ],
          completion: [{ role: "assistant", content: "SELECT 1" }],
        },
      },
    ]);
  });
});
