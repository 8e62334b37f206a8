/** The texts of files, for training a tokenizer: fields of JSON Lines, or a whole file of plain text. */
import { createReadStream } from "node:fs";
import { UserError } from "../base/index.js";
import { readJsonl } from "../datasets/index.js";

/** Columns that hold text in the files SFT reads, tried in this order where no field is named. */
const USUAL_FIELDS = ["text", "prompt", "completion", "messages"] as const;
const CHUNK_CHARACTERS = 1 << 20;

/**
 * Every text of `files`. Those ending in `.jsonl` give the `fields` of each row (or the usual ones); any other file
 * is plain text, given in pieces that end with a line.
 *
 * @throws UserError with file and line where a row has none of the fields.
 */
export async function* readTexts(
  files: readonly string[],
  fields: readonly string[] | undefined,
): AsyncGenerator<string> {
  for (const file of files) {
    yield* file.endsWith(".jsonl") ? jsonlTexts(file, fields) : plainTexts(file);
  }
}

async function* jsonlTexts(file: string, fields: readonly string[] | undefined): AsyncGenerator<string> {
  for await (const { line, value } of readJsonl(file)) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new UserError(
        `Cannot read texts of ${file}:${line}: the row is ${JSON.stringify(value)}, expected an object`,
      );
    }
    const row = new Map<string, unknown>(Object.entries(value));
    const wanted = fields ?? USUAL_FIELDS.filter((field) => row.has(field));
    if (wanted.length === 0) throw missing(file, line, undefined, row);
    for (const field of wanted) {
      const texts = textsOf(row.get(field));
      if (texts === undefined) throw missing(file, line, field, row);
      yield* texts;
    }
  }
}

/** The text of a field, or the contents of its messages; undefined for anything else. */
function textsOf(value: unknown): string[] | undefined {
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) return undefined;
  return value.flatMap((message: unknown) => {
    if (typeof message !== "object" || message === null || !("content" in message)) return [];
    return typeof message.content === "string" ? [message.content] : [];
  });
}

function missing(
  file: string,
  line: number,
  field: string | undefined,
  row: ReadonlyMap<string, unknown>,
): UserError {
  const columns = [...row.keys()].map((column) => `"${column}"`).join(", ");
  const found =
    field === undefined ? `the row has none of ${USUAL_FIELDS.join(", ")}` : `field "${field}" holds no text`;
  return new UserError(
    `Cannot read texts of ${file}:${line}: ${found}, expected some of the row's columns (${columns}). Name them with --field`,
  );
}

async function* plainTexts(file: string): AsyncGenerator<string> {
  let rest = "";
  try {
    for await (const chunk of createReadStream(file, {
      encoding: "utf8",
      highWaterMark: CHUNK_CHARACTERS,
    })) {
      rest += chunk;
      const end = rest.lastIndexOf("\n") + 1;
      if (end === 0) continue;
      yield rest.slice(0, end);
      rest = rest.slice(end);
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error)) throw error;
    const reason = error.code === "ENOENT" ? "there is no such file" : error.message;
    throw new UserError(`Cannot read ${file}: ${reason}, expected a file of text`, { cause: error });
  }
  if (rest !== "") yield rest;
}
