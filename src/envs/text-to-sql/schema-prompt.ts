/**
 * The prompt for chat models: the schema as they know schemas, with keys, example rows, the cells that the question
 * names, and the question. Works for databases that the model has never seen.
 */
import type Sqlite from "libsql";
import { type AnswerForm, readAnswer } from "../../rewards/index.js";
import { createValueLinker, type SqlDatabase, type TextToSqlExample } from "./data/index.js";
import { openToRead } from "./data/open-to-read.js";
import type { SqlPrompt } from "./prompt.js";
import { readAnyText, type SqlRow, type SqlValue } from "./sql/index.js";

export interface SchemaPromptOptions {
  readonly databases: ReadonlyMap<string, SqlDatabase>;
  readonly answer: AnswerForm;
  /** Example rows of each table. */
  readonly sampleRows: number;
  /** Whether cells that the question names are listed with their columns. */
  readonly linkValues: boolean;
}

const LANGUAGES = ["sql", "sqlite"];
/** Of a cell in an example row. */
const LONGEST_CELL = 40;
/** Columns named for one linked value. */
const MOST_COLUMNS = 4;

export function createSchemaPrompt(options: SchemaPromptOptions): SqlPrompt {
  const { databases, answer } = options;
  const linker = createValueLinker(databases);
  const descriptions = new Map<string, string>();
  const describe = (name: string): string => {
    let text = descriptions.get(name);
    if (text === undefined) {
      text = describeDatabase(databases.get(name)!, options.sampleRows);
      descriptions.set(name, text);
    }
    return text;
  };
  const form =
    answer === "fenced"
      ? "one SELECT statement in one ```sql code block"
      : "one SELECT statement and nothing else";
  const linkedCells = ({ question, database }: TextToSqlExample): string[] =>
    linker
      .link(question, database)
      .slots.filter(({ columns }) => columns.length > 0)
      .map(
        ({ value, columns }) => `${quoted(value, "'")} is in ${columns.slice(0, MOST_COLUMNS).join(", ")}`,
      );
  return {
    messages: (example) => {
      const cells = options.linkValues ? linkedCells(example) : [];
      const parts = [
        describe(example.database),
        ...(cells.length === 0 ? [] : [`Cells that the question may mean:\n${cells.join("\n")}`]),
        `Question: ${example.question}`,
      ];
      return [
        { role: "system", content: `You answer questions about a SQLite database. Answer with ${form}.` },
        { role: "user", content: parts.join("\n\n") },
      ];
    },
    goldText: ({ sql }) => {
      const trimmed = sql.trim();
      return answer === "fenced" ? `\`\`\`sql\n${trimmed}\n\`\`\`` : trimmed;
    },
    read: (text) => readAnswer(text, answer, { languages: LANGUAGES }),
    correction: (problem) => [
      { role: "user", content: `That statement fails: ${problem}\nAnswer once more, with ${form}.` },
    ],
  };
}

/** The tables as CREATE statements, each with some of its rows. */
export function describeDatabase({ name, path, schema }: SqlDatabase, sampleRows: number): string {
  const tables = schema.tables.map(({ name, columns }) => {
    const keys = columns.filter(({ isPrimaryKey }) => isPrimaryKey);
    const foreign = schema.foreignKeys.filter(({ table }) => table === name);
    const lines = [
      ...columns.map(
        (column) =>
          `  ${identifier(column.name)} ${column.type}${keys.length === 1 && column.isPrimaryKey ? " primary key" : ""}`,
      ),
      ...(keys.length > 1 ? [`  primary key (${keys.map((key) => identifier(key.name)).join(", ")})`] : []),
      ...foreign.map(
        ({ column, toTable, toColumn }) =>
          `  foreign key (${identifier(column)}) references ${identifier(toTable)}(${identifier(toColumn)})`,
      ),
    ];
    return `create table ${identifier(name)} (\n${lines.join(",\n")}\n)`;
  });
  if (sampleRows === 0) return tables.join("\n\n");
  const file = openToRead(path, name);
  try {
    return tables
      .map((table, i) => {
        const rows = rowsOf(file, schema.tables[i]!.name, sampleRows);
        return rows.length === 0 ? table : `${table}\n-- ${rows.join("\n-- ")}`;
      })
      .join("\n\n");
  } finally {
    file.close();
  }
}

function rowsOf(file: Sqlite.Database, table: string, count: number): string[] {
  let rows: SqlRow[];
  try {
    rows = readAnyText(file, `SELECT * FROM ${quoted(table, '"')} LIMIT ${count}`);
  } catch {
    // tables.json may list a table that the file has not: there is nothing to show.
    return [];
  }
  return rows.map((row) => row.map(cellText).join(" | "));
}

function cellText(cell: SqlValue): string {
  if (cell instanceof Uint8Array) return "(bytes)";
  const text = String(cell ?? "null").replace(/\s+/g, " ");
  return text.length <= LONGEST_CELL ? text : `${text.slice(0, LONGEST_CELL - 1)}…`;
}

/** Bare where SQLite takes it so, else in double quotes. */
function identifier(name: string): string {
  return /^[A-Za-z_]\w*$/.test(name) ? name : quoted(name, '"');
}

function quoted(text: string, quote: string): string {
  return `${quote}${text.replaceAll(quote, quote + quote)}${quote}`;
}
