/**
 * Questions and SQL as words with spaces between, for a fresh small model: `t.first_name` becomes `t . first _ name`,
 * so that parts of names are shared with the question's words, and `'Paris'` becomes `' Paris '`. SQL comes back
 * exactly; questions need not.
 */
import type { DatabaseSchema } from "./schema.js";
import { lexSql, SqlSyntaxError, type SqlToken } from "./sql-lexer.js";
import { type PlainToken, printSql, spellToken } from "./sql-printer.js";

export interface PromptParts {
  readonly database: string;
  readonly question: string;
  /** Given, the prompt lists tables, columns and types: what a model needs for a database that it has not seen. */
  readonly schema?: DatabaseSchema;
}

/** Begins a prompt, parts it, and ends it. */
const START = "db :";
const PART = "|";
const END = "=>";

/** `db : pets 1 | how many dogs are there ? =>` */
export function formatPrompt({ database, question, schema }: PromptParts): string {
  const tables =
    schema?.tables.map(({ name, columns }) => {
      const list = columns.map((column) => `${nameWords(column.name)} ${column.type}`).join(" , ");
      return `${nameWords(name)} : ${list}`;
    }) ?? [];
  return [`${START} ${nameWords(database)}`, ...tables, `${questionWords(question)} ${END}`].join(
    ` ${PART} `,
  );
}

/** Lower case, every sign a word of its own; slots stay whole. */
export function questionWords(question: string): string {
  return (question.toLowerCase().match(/value_\d+|\p{L}[\p{L}\p{M}]*|\p{N}+|[^\s]/gu) ?? []).join(" ");
}

function nameWords(name: string): string {
  return (name.toLowerCase().match(/\p{L}[\p{L}\p{M}]*|\p{N}+|[^\s_]/gu) ?? [name]).join(" ");
}

const SLOT = /^value_\d+$/;
/** Underscores only between words: then ` _ ` can be undone. */
const SPLITTABLE = /^[^_]+(?:_[^_]+)+$/;

/** SQL in canonical spelling (`normaliseSql`) as words, with a space before the first. */
export function formatCompletion(sql: string): string {
  return lexSql(sql)
    .map((token) => ` ${wordsOf(token)}`)
    .join("");
}

function wordsOf(token: SqlToken): string {
  const plain = plainToken(token);
  if (plain.kind === "text") return spellToken({ kind: "text", value: ` ${plain.value} ` });
  const spelled = spellToken(plain);
  const isName = token.kind === "word" && !SLOT.test(token.value);
  return isName && SPLITTABLE.test(spelled) ? spelled.replaceAll("_", " _ ") : spelled;
}

/** The SQL that `formatCompletion` made words of; text that is no SQL comes back as it is, for the database to refuse. */
export function readCompletion(text: string): string {
  // Odd parts are inside quotes and stay as they are.
  const joined = text
    .split(/('(?:[^']|'')*'|"(?:[^"]|"")*")/)
    .map((part, i) => (i % 2 === 1 ? part : part.replace(/ _ /g, "_").replace(/(?<!\d) ?\. ?/g, ".")))
    .join("");
  try {
    return printSql(lexSql(joined).map((token) => withoutMargin(plainToken(token))));
  } catch (thrown) {
    if (thrown instanceof SqlSyntaxError) return text.trim();
    throw thrown;
  }
}

/** Without the space that `formatCompletion` puts on both sides of a text. */
function withoutMargin(token: PlainToken): PlainToken {
  const inner = token.kind === "text" ? /^ (.*) $/s.exec(token.value)?.[1] : undefined;
  return inner === undefined ? token : { kind: "text", value: inner };
}

/** In canonical spelling only names have double quotes. */
export function plainToken(token: SqlToken): PlainToken {
  if (token.kind !== "quoted") return token;
  return { kind: token.quote === "'" ? "text" : "name", value: token.value };
}
