/** Parts of questions, each with the SQL it means: conditions, columns, leads. SQL is lower case and canonical. */
import type { Random } from "../../../../base/index.js";
import type { CategoryColumn, DomainColumn, DomainTable, NumberColumn } from "./domain.js";

/** Words, and the SQL they stand for. */
export interface Phrase {
  readonly words: string;
  readonly sql: string;
}

/** One of `items`. @throws RangeError when there are none */
export function pick<T>(random: Random, items: readonly T[]): T {
  if (items.length === 0) throw new RangeError("internal: nothing to pick from");
  return items[random.integer(items.length)] as T;
}

export const numbersOf = (table: DomainTable): NumberColumn[] =>
  table.columns.filter((column) => column.kind === "number");
export const categoriesOf = (table: DomainTable): CategoryColumn[] =>
  table.columns.filter((column) => column.kind === "category");
/** The column that names a row. */
export const nameOf = (table: DomainTable): DomainColumn => table.columns[0]!;

export const LEADS = ["list", "show", "give me", "find", "what are"] as const;

/** Round numbers inside the column's range: a few, so that questions share them. */
export function thresholdOf(random: Random, column: NumberColumn): number {
  const share = pick(random, [0.2, 0.35, 0.5, 0.65, 0.8]);
  const span = column.high - column.low;
  const grain = span > 300 ? 50 : span > 60 ? 10 : span > 25 ? 5 : 2;
  return Math.round((column.low + share * span) / grain) * grain;
}

/** A condition on one column; `prefix` is "table." where a query has several tables. */
export function condition(
  random: Random,
  table: DomainTable,
  prefix = "",
  except = "",
): Phrase & { column: string } {
  const categories = categoriesOf(table).filter(({ name }) => name !== except);
  const isCategory = categories.length > 0 && random.uniform() < 0.45;
  return isCategory
    ? categoryCondition(random, pick(random, categories), prefix)
    : numberCondition(random, pick(random, numbersOf(table)), prefix);
}

export function categoryCondition(
  random: Random,
  column: CategoryColumn,
  prefix = "",
): Phrase & { column: string } {
  const phrase = pick(random, column.phrases);
  const value = pick(random, column.values);
  const isNegated = random.uniform() < 0.15;
  const words = isNegated
    ? pick(random, [`whose ${phrase} is not ${value}`, `with a ${phrase} other than ${value}`])
    : pick(random, [
        `with ${phrase} ${value}`,
        `whose ${phrase} is ${value}`,
        `that have ${value} as ${phrase}`,
      ]);
  return { words, sql: `${prefix}${column.name} ${isNegated ? "!=" : "="} '${value}'`, column: column.name };
}

export function numberCondition(
  random: Random,
  column: NumberColumn,
  prefix = "",
): Phrase & { column: string } {
  const phrase = pick(random, column.phrases);
  const value = thresholdOf(random, column);
  const name = `${prefix}${column.name}`;
  const kind = random.uniform();
  const made = (words: string, sql: string) => ({ words, sql, column: column.name });
  if (kind < 0.1) {
    const other = thresholdOf(random, column);
    const [low, high] = value <= other ? [value, other] : [other, value];
    return made(`with ${phrase} between ${low} and ${high}`, `${name} between ${low} and ${high}`);
  }
  if (kind < 0.2) return made(`with ${phrase} of at least ${value}`, `${name} >= ${value}`);
  if (kind < 0.3) return made(`with ${phrase} of at most ${value}`, `${name} <= ${value}`);
  const isAbove = random.uniform() < 0.5;
  const own = isAbove ? column.above : column.below;
  if (own !== undefined && random.uniform() < 0.5) {
    return made(`${pick(random, own)} ${value}`, `${name} ${isAbove ? ">" : "<"} ${value}`);
  }
  const relation = pick(
    random,
    isAbove ? ["above", "over", "greater than"] : ["below", "under", "less than"],
  );
  return made(
    pick(random, [`with ${phrase} ${relation} ${value}`, `whose ${phrase} is ${relation} ${value}`]),
    `${name} ${isAbove ? ">" : "<"} ${value}`,
  );
}

/** One condition, or two of different columns joined by `and` or `or`; none on the categories named `except`. */
export function conditions(random: Random, table: DomainTable, except = ""): Phrase {
  const first = condition(random, table, "", except);
  if (random.uniform() < 0.65) return first;
  const second = condition(random, table, "", except);
  if (second.column === first.column) return first;
  const join = random.uniform() < 0.7 ? "and" : "or";
  return { words: `${first.words} ${join} ${second.words}`, sql: `${first.sql} ${join} ${second.sql}` };
}
