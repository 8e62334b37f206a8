/**
 * From the column names of a file to ours. Files in the wild call a prompt "question" or "instruction"; the mapping
 * renames columns, fills text templates, and can wrap prompt and completion as chat messages.
 */
import { describeValue, UserError } from "../base/index.js";
import { closestName } from "./closest-name.js";

type Row = Readonly<Record<string, unknown>>;

export interface ColumnMapping {
  /** Our field → the file's column. */
  readonly columns?: Readonly<Partial<Record<Field, string>>>;
  /** Text with `{column}` where the column's value goes; `{{` and `}}` are literal braces. */
  readonly promptTemplate?: string;
  readonly completionTemplate?: string;
  readonly textTemplate?: string;
  /** Makes a text prompt a user message and a text completion an assistant message, for the model's chat template. */
  readonly asChat?: boolean;
  /** A system message before the user's; needs `asChat`. */
  readonly system?: string;
}

export type Field = (typeof FIELDS)[number];

const FIELDS = [
  ...(["messages", "tools", "prompt", "completion", "text"] as const),
  ...(["chosen", "rejected", "label", "score", "category"] as const),
] as const;
/** Which fields may stand beside a mapped one; the category may stand beside all and decides nothing. */
const PARTNERS: Readonly<Record<Exclude<Field, "category">, readonly Field[]>> = {
  messages: ["messages", "tools"],
  tools: ["messages", "tools"],
  prompt: ["prompt", "completion", "chosen", "rejected", "label", "score", "tools"],
  completion: ["prompt", "completion", "label", "score", "tools"],
  text: ["text"],
  chosen: ["prompt", "chosen", "rejected", "tools"],
  rejected: ["prompt", "chosen", "rejected", "tools"],
  label: ["prompt", "completion", "label", "tools"],
  score: ["prompt", "completion", "score", "tools"],
};
const WORD_FIELDS: readonly Field[] = ["prompt", "completion", "text", "chosen", "rejected"];

/** `row` with our field names; columns that the mapping does not use keep theirs unless that would be ambiguous. */
export function mapColumns(row: Row, mapping: ColumnMapping, at: string): Row {
  const templates: Partial<Record<Field, string>> = {
    ...(mapping.promptTemplate === undefined ? {} : { prompt: mapping.promptTemplate }),
    ...(mapping.completionTemplate === undefined ? {} : { completion: mapping.completionTemplate }),
    ...(mapping.textTemplate === undefined ? {} : { text: mapping.textTemplate }),
  };
  const columns = mapping.columns ?? {};
  const mapped = FIELDS.filter((field) => columns[field] !== undefined || templates[field] !== undefined);
  if (mapped.length === 0) return mapping.asChat === true ? asChat(row, mapping.system, at) : row;

  const result: Record<string, unknown> = {};
  const used = new Set<string>();
  for (const field of mapped) {
    const template = templates[field];
    if (template !== undefined) {
      result[field] = fillTemplate(template, row, at);
      continue;
    }
    const column = columns[field]!;
    if (row[column] === undefined) throw missingColumn(row, column, `data.columns.${field}`, at);
    result[field] = WORD_FIELDS.includes(field) ? wordsOf(row[column]) : row[column];
    used.add(column);
  }
  const deciding = mapped.filter((field) => field !== "category");
  const partners = new Set<Field>(
    deciding.length === 0 ? FIELDS : ["category", ...deciding.flatMap((field) => PARTNERS[field])],
  );
  for (const [column, value] of Object.entries(row)) {
    if (used.has(column) || column in result) continue;
    const field = FIELDS.find((name) => name === column);
    if (field === undefined || partners.has(field)) result[column] = value;
  }
  return mapping.asChat === true ? asChat(result, mapping.system, at) : result;
}

/** The column names that a template reads. */
export function templateColumns(template: string): string[] {
  return [
    ...new Set(pieces(template).flatMap((piece) => (piece.column === undefined ? [] : [piece.column]))),
  ];
}

/** @throws UserError where the template reads a column that the row lacks. */
function fillTemplate(template: string, row: Row, at: string): string {
  return pieces(template)
    .map(({ text, column }) => {
      if (column === undefined) return text;
      const value = row[column];
      if (value === undefined) throw missingColumn(row, column, `template ${JSON.stringify(template)}`, at);
      const words = wordsOf(value);
      if (typeof words === "string") return words;
      throw new UserError(
        `Cannot fill template ${JSON.stringify(template)} at ${at}: column "${column}" is ${describeValue(value)}, expected text or a number`,
      );
    })
    .join("");
}

interface Piece {
  readonly text: string;
  readonly column?: string;
}

function pieces(template: string): Piece[] {
  const found: Piece[] = [];
  let rest = 0;
  for (const match of template.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    found.push({ text: template.slice(rest, match.index) });
    rest = match.index + match[0].length;
    if (match[1] !== undefined) found.push({ text: "", column: match[1].trim() });
    else if (match[0].length === 2) found.push({ text: match[0][0]! });
    else {
      throw new UserError(
        `Cannot use template ${JSON.stringify(template)}: lone "${match[0]}" at character ${match.index + 1}, expected {column}. Write ${match[0]}${match[0]} for a literal brace`,
      );
    }
  }
  found.push({ text: template.slice(rest) });
  return found;
}

/** Numbers and booleans become text; what is not a scalar stays, for the row schema to judge. */
function wordsOf(value: unknown): unknown {
  return typeof value === "number" || typeof value === "boolean" ? String(value) : value;
}

function missingColumn(row: Row, column: string, reader: string, at: string): UserError {
  const columns = Object.keys(row);
  const meant = closestName(column, columns);
  return new UserError(
    `Cannot read ${at}: the row has no column "${column}", which ${reader} names, expected one of ${columns.map((name) => `"${name}"`).join(", ")}${meant === undefined ? "" : `. Did you mean "${meant}"?`}`,
  );
}

function asChat(row: Row, system: string | undefined, at: string): Row {
  const { prompt, completion } = row;
  if (typeof prompt !== "string" || typeof completion !== "string") {
    throw new UserError(
      `Cannot use data.asChat at ${at}: prompt is ${describeValue(prompt)} and completion is ${describeValue(completion)}, expected text on both sides`,
    );
  }
  const opening = system === undefined ? [] : [{ role: "system", content: system }];
  return {
    ...row,
    prompt: [...opening, { role: "user", content: prompt }],
    completion: [{ role: "assistant", content: completion }],
  };
}
