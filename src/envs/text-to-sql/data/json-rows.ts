/** Rows of a JSON array or of JSON Lines, checked by a schema, with the line of the first row that is wrong. */
import { readFileSync } from "node:fs";
import type { z } from "zod";
import { messageOf, UserError } from "../../../base/index.js";

/** What `path` holds, each row parsed by `schema`. A file that ends in `.jsonl` has one row per line. */
export function readRows<Schema extends z.ZodType>(path: string, schema: Schema): z.infer<Schema>[] {
  const text = readText(path);
  if (path.endsWith(".jsonl")) {
    return text.split("\n").flatMap((line, i) => {
      if (line.trim() === "") return [];
      return [parseRow(schema, parseJson(line, `${path}:${i + 1}`), `${path}:${i + 1}`)];
    });
  }
  const rows: unknown = parseJson(text, path);
  if (!Array.isArray(rows)) {
    throw new UserError(
      `Cannot read ${path}: it holds ${rows === null ? "null" : `one ${typeof rows}`}, expected a list`,
    );
  }
  return rows.map((row, i) => {
    const parsed = schema.safeParse(row);
    // The line is only worth looking for when something is wrong.
    return parsed.success
      ? parsed.data
      : parseRow(schema, row, `${path}:${lineOfElement(text, i)} (row ${i + 1})`);
  });
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").replace(/^\uFEFF/, "");
  } catch (thrown) {
    throw new UserError(`Cannot read ${path}: ${messageOf(thrown)}, expected a file that can be read`, {
      cause: thrown,
    });
  }
}

function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new UserError(`Cannot read ${where}: it is not JSON (${messageOf(thrown)})`, { cause: thrown });
  }
}

function parseRow<Schema extends z.ZodType>(schema: Schema, row: unknown, where: string): z.infer<Schema> {
  const parsed = schema.safeParse(row);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  const field = issue.path.length === 0 ? "the row" : `"${issue.path.join(".")}"`;
  throw new UserError(`Cannot read ${where}: ${field} is wrong: ${issue.message}`);
}

/** The line, from 1, where element `index` of the array in `text` starts. */
function lineOfElement(text: string, index: number): number {
  let depth = 0;
  let element = -1;
  let line = 1;
  let isExpected = false;
  for (let at = 0; at < text.length; at++) {
    const unit = text[at]!;
    if (unit === "\n") line++;
    if (/\s/.test(unit)) continue;
    if (isExpected) {
      isExpected = false;
      if (++element === index) return line;
    }
    if (unit === '"') {
      for (at++; text[at] !== '"'; at++) if (text[at] === "\\") at++;
    } else if (unit === "[" || unit === "{") {
      depth++;
      if (depth === 1) isExpected = true;
    } else if (unit === "]" || unit === "}") depth--;
    else if (unit === "," && depth === 1) isExpected = true;
  }
  return line;
}
