/**
 * Value linking: numbers, quoted words and names of cells in a question become slots, `value_0`, `value_1`, …, and the
 * same values in SQL too, so that a small model need not spell them. Slots are found in the question and the database
 * alone; the gold query is never looked at. On execution the values are put back.
 */
import { type CellIndex, indexCells } from "./cell-index.js";
import type { SqlDatabase } from "./spider.js";
import { lexSql, SqlSyntaxError } from "./sql-lexer.js";
import { type PlainToken, printSql } from "./sql-printer.js";
import { plainToken } from "./text-form.js";

export interface Slot {
  /** `value_0` and so on, in the order of the question. */
  readonly name: string;
  readonly kind: "number" | "text";
  /** The number, or the text as the cells spell it. */
  readonly value: string;
  /** `table.column` of cells that hold it; empty for numbers and for quoted words that no cell has. */
  readonly columns: readonly string[];
}

export interface LinkedQuestion {
  /** The question with slots in place of values. */
  readonly question: string;
  readonly slots: readonly Slot[];
}

export interface ValueLinker {
  link(question: string, database: string): LinkedQuestion;
}

/** Links values against the databases' cells; a database is read when first asked for. */
export function createValueLinker(databases: ReadonlyMap<string, SqlDatabase>): ValueLinker {
  const indexes = new Map<string, CellIndex>();
  return {
    link(question, name) {
      const database = databases.get(name);
      if (database === undefined) throw new Error(`internal: no database "${name}" to link values of`);
      let index = indexes.get(name);
      if (index === undefined) indexes.set(name, (index = indexCells(database, schemaWords(database))));
      return linkValues(question, index);
    },
  };
}

function schemaWords({ schema }: SqlDatabase): Set<string> {
  const words = schema.tables.flatMap((table) => [table.name, ...table.columns.map(({ name }) => name)]);
  return new Set(
    words.flatMap((word) => [word, word.replaceAll("_", " ")]).map((word) => word.toLowerCase()),
  );
}

/** Too frequent in questions to be meant as a cell. */
const STOP_WORDS = new Set(
  "a an the of in on at to by for from with and or not no is are was were be been has have had do does did how many much what which who whose when where why all any each every some more most less least than that this these those it its their his her as i me my we you they one other there list show find give name names number count total average mean id type year years day date time first last top code result results yes order age value new good best high low large small".split(
    " ",
  ),
);
const NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split(" ");

interface Piece {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

interface Candidate extends Omit<Slot, "name"> {
  readonly start: number;
  readonly end: number;
}

function linkValues(question: string, index: CellIndex): LinkedQuestion {
  const found: Candidate[] = [];
  const isFree = ({ start, end }: { readonly start: number; readonly end: number }): boolean =>
    found.every((one) => end <= one.start || start >= one.end);
  for (const candidate of quotedValues(question, index)) if (isFree(candidate)) found.push(candidate);
  for (const candidate of cellValues(question, index)) if (isFree(candidate)) found.push(candidate);
  for (const candidate of numberValues(question)) if (isFree(candidate)) found.push(candidate);
  found.sort((a, b) => a.start - b.start);

  const slots: Slot[] = [];
  let linked = "";
  let at = 0;
  for (const { start, end, kind, value, columns } of found) {
    // The same value twice is one slot: the SQL may name it once.
    const known = slots.find((slot) => slot.kind === kind && slot.value === value);
    const slot = known ?? { name: `value_${slots.length}`, kind, value, columns };
    if (known === undefined) slots.push(slot);
    linked += `${question.slice(at, start)}${slot.name}`;
    at = end;
  }
  return { question: linked + question.slice(at), slots };
}

const QUOTED = /(?<!\p{L})(?:"([^"]{1,60})"|'([^']{1,60})'|“([^”]{1,60})”|‘([^’]{1,60})’)(?!\p{L})/gu;

function* quotedValues(question: string, index: CellIndex): Generator<Candidate> {
  for (const match of question.matchAll(QUOTED)) {
    const text = (match[1] ?? match[2] ?? match[3] ?? match[4] ?? "").trim();
    if (text === "") continue;
    const [start, end] = [match.index, match.index + match[0].length];
    if (/^-?\d+(?:\.\d+)?$/.test(text)) {
      yield { start, end, kind: "number", value: text, columns: [] };
    } else yield { start, end, kind: "text", ...spelling(text, index) };
  }
}

/** The spelling of the question where a cell has it, else that of most cells, else the question's. */
function spelling(text: string, index: CellIndex): { value: string; columns: readonly string[] } {
  const cells = index.find(text.toLowerCase());
  const cell = cells.find((one) => one.text === text) ?? cells[0];
  return { value: cell?.text ?? text, columns: cell?.columns ?? [] };
}

const PIECE = /[\p{L}\p{N}][\p{L}\p{M}\p{N}]*(?:[-.'&/:][\p{L}\p{N}]+)*/gu;
const MOST_WORDS = 8;

/** The longest runs of words that are a cell's text, from left to right. */
function* cellValues(question: string, index: CellIndex): Generator<Candidate> {
  const pieces: Piece[] = [...question.matchAll(PIECE)].map((match) => ({
    start: match.index,
    end: match.index + match[0].length,
    text: match[0],
  }));
  let next = 0;
  while (next < pieces.length) {
    const first = next++;
    for (let count = Math.min(MOST_WORDS, index.longest, pieces.length - first); count > 0; count--) {
      const start = pieces[first]!.start;
      const end = pieces[first + count - 1]!.end;
      const text = question.slice(start, end);
      const lower = text.toLowerCase();
      if (count === 1 && (STOP_WORDS.has(lower) || /^[\d.]+$/.test(lower))) continue;
      if (index.find(lower).length === 0) continue;
      yield { start, end, kind: "text", ...spelling(text, index) };
      next = first + count;
      break;
    }
  }
}

function* numberValues(question: string): Generator<Candidate> {
  for (const match of question.matchAll(/(?<![\p{L}\p{N}_.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\p{L}\p{N}_])/gu)) {
    const [start, end] = [match.index, match.index + match[0].length];
    yield { start, end, kind: "number", value: match[0].replaceAll(",", ""), columns: [] };
  }
  for (const match of question.matchAll(/\p{L}+/gu)) {
    const number = NUMBER_WORDS.indexOf(match[0].toLowerCase());
    // "one" is mostly no number.
    if (number < 2) continue;
    yield {
      start: match.index,
      end: match.index + match[0].length,
      kind: "number",
      value: `${number}`,
      columns: [],
    };
  }
}

/**
 * Canonical SQL with slots in place of the values they stand for: `'France'` and `5` become `value_0`, `'5'` becomes
 * `'value_0'`, `'%Fra%'` becomes `'%value_0%'`. Values that no slot has stay.
 */
export function insertSlots(sql: string, slots: readonly Slot[]): string {
  return printSql(
    lexSql(sql).map((token): PlainToken => {
      const plain = plainToken(token);
      if (plain.kind === "number") {
        const slot = slots.find(({ kind, value }) => kind === "number" && value === plain.value);
        return slot === undefined ? plain : { kind: "word", value: slot.name, raw: slot.name };
      }
      if (plain.kind !== "text") return plain;
      const exact = slots.find(({ value }) => value === plain.value);
      if (exact !== undefined) {
        return exact.kind === "text"
          ? { kind: "word", value: exact.name, raw: exact.name }
          : { kind: "text", value: exact.name };
      }
      const inner = /^(%?)(.+?)(%?)$/s.exec(plain.value);
      // LIKE does not see case.
      const like = slots.find(({ value }) => value.toLowerCase() === inner?.[2]?.toLowerCase());
      if (inner === null || like === undefined || `${inner[1]}${inner[3]}` === "") return plain;
      return { kind: "text", value: `${inner[1]}${like.name}${inner[3]}` };
    }),
  );
}

/** Puts the values back. A slot that the question has not stays, and the database will refuse it. */
export function fillSlots(sql: string, slots: readonly Slot[]): string {
  const slotOf = (name: string): Slot | undefined => slots.find((slot) => slot.name === name);
  try {
    return printSql(
      lexSql(sql).map((token): PlainToken => {
        const plain = plainToken(token);
        if (plain.kind === "word") {
          const slot = slotOf(plain.value);
          return slot === undefined ? plain : { kind: slot.kind, value: slot.value };
        }
        if (plain.kind !== "text") return plain;
        const value = plain.value.replace(/value_\d+/g, (name) => slotOf(name)?.value ?? name);
        return { kind: "text", value };
      }),
    );
  } catch (thrown) {
    if (thrown instanceof SqlSyntaxError) return sql;
    throw thrown;
  }
}

/** How many of the literals in canonical SQL the slots stand for; LIMIT counts too. */
export function slotCoverage(
  sql: string,
  slots: readonly Slot[],
): { readonly literals: number; readonly linked: number } {
  const isLiteral = ({ kind }: PlainToken): boolean => kind === "number" || kind === "text";
  const literals = lexSql(sql).map(plainToken).filter(isLiteral).length;
  const left = lexSql(insertSlots(sql, slots))
    .map(plainToken)
    .filter((token) => isLiteral(token) && !/value_\d+/.test(token.value)).length;
  return { literals, linked: literals - left };
}
