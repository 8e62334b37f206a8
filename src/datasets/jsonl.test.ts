import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { findJsonFault } from "./json-fault.js";
import { type JsonlRow, readJsonl } from "./jsonl.js";

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-jsonl-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function file(content: string | Uint8Array): string {
  const path = join(directory, "rows.jsonl");
  writeFileSync(path, content);
  return path;
}

async function readAll(path: string, chunkBytes?: number): Promise<JsonlRow[]> {
  const rows: JsonlRow[] = [];
  for await (const row of readJsonl(path, chunkBytes === undefined ? {} : { chunkBytes })) rows.push(row);
  return rows;
}

/** The message with the temporary directory cut out. */
async function refusal(content: string | Uint8Array): Promise<string> {
  const path = file(content);
  const thrown = await readAll(path).then(
    () => undefined,
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(UserError);
  return (thrown as UserError).message.replaceAll(`${directory}/`, "");
}

describe("readJsonl()", () => {
  it("keeps line numbers over a byte order mark, CRLF, blank lines and a last line without end", async () => {
    const path = file('\ufeff{"a":1}\r\n\r\n  \n{"a":"é"}\r\n[3]');
    expect(await readAll(path)).toEqual([
      { line: 1, value: { a: 1 } },
      { line: 4, value: { a: "é" } },
      { line: 5, value: [3] },
    ]);
  });

  it("reads a line far longer than a chunk", async () => {
    const long = "x".repeat(3_000_000);
    expect(await readAll(file(`{"a":"${long}"}\n{"b":2}\n`), 1000)).toEqual([
      { line: 1, value: { a: long } },
      { line: 2, value: { b: 2 } },
    ]);
  });

  it("gives the same rows for every chunk size, characters split or not", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.jsonValue(), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 40 }),
        fc.constantFrom("\n", "\r\n"),
        async (values, chunkBytes, end) => {
          const path = file(values.map((value) => JSON.stringify(value)).join(end));
          const rows = await readAll(path, chunkBytes);
          expect(rows.map(({ value }) => JSON.stringify(value))).toEqual(
            values.map((v) => JSON.stringify(v)),
          );
          expect(rows.map(({ line }) => line)).toEqual(values.map((_, i) => i + 1));
        },
      ),
      { numRuns: 60 },
    );
  });

  it.each([
    [
      "a missing comma",
      '{"a":1}\n{"a":1 "b":2}\n',
      'Cannot read rows.jsonl:2:8: found "\\"", expected , or } in {"a":1 ⟨here⟩"b":2}. Every line must be one whole JSON object; fix or delete this line',
    ],
    [
      "a row cut off",
      '{"a": "never en',
      'Cannot read rows.jsonl:1:7: found a string that never ends (its closing " is missing), expected a closing " in {"a": ⟨here⟩"never en. Every line must be one whole JSON object; fix or delete this line',
    ],
    [
      "Python's words",
      "{'a': 1}",
      "Cannot read rows.jsonl:1:2: found \"'\", expected a key in double quotes or } in {⟨here⟩'a': 1}. This looks like a Python literal; write the file with json.dumps, one object per line",
    ],
    [
      "NaN",
      '{"a": NaN}',
      'Cannot read rows.jsonl:1:7: found "NaN", expected a JSON value in {"a": ⟨here⟩NaN}. JSON has no NaN or Infinity; write null or leave the field out',
    ],
    [
      "an array over many lines",
      '[\n{"a":1}\n]',
      "Cannot read rows.jsonl:1:2: found the end of the line, expected a JSON value in [⟨here⟩. JSON Lines has one whole object per line; convert a JSON array with jq -c '.[]'",
    ],
    [
      "a tab inside a string",
      '{"a":"x\ty"}',
      'Cannot read rows.jsonl:1:8: found control character U+0009, expected this control character written as an escape in {"a":"x⟨here⟩·y"}. Every line must be one whole JSON object; fix or delete this line',
    ],
    [
      "a fault deep in a long line",
      `{"a":"${"x".repeat(100)}",}`,
      `Cannot read rows.jsonl:1:109: found "}", expected a key in double quotes in …${"x".repeat(28)}",⟨here⟩}. Every line must be one whole JSON object; fix or delete this line`,
    ],
    [
      "two objects in a line",
      "{} {}",
      'Cannot read rows.jsonl:1:4: found "{", expected the end of the line in {} ⟨here⟩{}. Every line must be one whole JSON object; fix or delete this line',
    ],
    [
      "bytes that are not UTF-8",
      Buffer.concat([Buffer.from('{"a":"é'), Buffer.from([0xe9]), Buffer.from('"}\n')]),
      "Cannot read rows.jsonl:1: byte 9 of the line is not UTF-8, expected UTF-8 text. Convert the file (iconv -f latin1 -t utf-8)",
    ],
    [
      "gzip",
      Buffer.from([0x1f, 0x8b, 8, 0]),
      "Cannot read rows.jsonl: it is gzip data, expected JSON Lines. Unpack it with gunzip",
    ],
    [
      "UTF-16",
      Buffer.from('\ufeff{"a":1}', "utf16le"),
      "Cannot read rows.jsonl: it is UTF-16 text, expected UTF-8. Convert it with iconv -f utf-16 -t utf-8",
    ],
  ])("refuses %s with file, line, column and remedy", async (_, content, message) => {
    expect(await refusal(content)).toBe(message);
  });

  it("names a file that is not there, and a directory", async () => {
    await expect(readAll(join(directory, "none.jsonl"))).rejects.toThrow(
      new UserError(`Cannot read ${directory}/none.jsonl: no such file, expected a JSON Lines file`),
    );
    await expect(readAll(directory)).rejects.toThrow(
      new UserError(`Cannot read ${directory}: it is a directory, expected a JSON Lines file`),
    );
  });
});

describe("findJsonFault()", () => {
  const judge = (text: string): boolean => {
    try {
      JSON.parse(text);
      return true;
    } catch {
      return false;
    }
  };

  it("finds a fault exactly where JSON.parse does", () => {
    const mutated = fc
      .tuple(
        fc.json(),
        fc.nat(),
        fc.constantFrom("", ",", '"', "}", "[", "\\", "0", "e", "-", ":", "\n", "tru"),
      )
      .map(([text, at, insert]) => {
        const place = at % (text.length + 1);
        return text.slice(0, place) + insert + text.slice(place + (at % 3));
      });
    fc.assert(
      fc.property(mutated, (text) => (findJsonFault(text) === undefined) === judge(text)),
      { numRuns: 3000 },
    );
  });

  it("takes any nesting without a stack overflow", () => {
    const depth = 200_000;
    expect(findJsonFault("[".repeat(depth))).toEqual({
      offset: depth,
      found: "the end of the line",
      expected: "a JSON value",
    });
    expect(findJsonFault("[".repeat(depth) + "]".repeat(depth))).toBeUndefined();
  });
});
