/** The families of questions: each makes one question and the SQL that answers it, for one made database. */
import type { Random } from "../../../../base/index.js";
import type { Domain, DomainTable, NumberColumn } from "./domain.js";
import {
  categoriesOf,
  condition,
  conditions,
  LEADS,
  nameOf,
  numbersOf,
  type Phrase,
  pick,
  thresholdOf,
} from "./phrases.js";

/** Makes a question, or nothing where the domain does not have what it takes. */
export type Family = (random: Random, domain: Domain) => Phrase | undefined;

const AGGREGATES: readonly { readonly sql: string; readonly words: readonly string[] }[] = [
  { sql: "avg", words: ["average", "mean"] },
  { sql: "max", words: ["highest", "maximum", "largest"] },
  { sql: "min", words: ["lowest", "minimum", "smallest"] },
  { sql: "sum", words: ["total", "combined"] },
];

/** A table of the domain: mostly the one with many rows. */
function someTable(random: Random, { table, parent }: Domain): DomainTable {
  return parent !== undefined && random.uniform() < 0.25 ? parent.table : table;
}

/** A question with or without a condition, each as likely as `share` says. */
function maybeWhere(random: Random, table: DomainTable, share: number, except = ""): Phrase {
  if (random.uniform() >= share) return { words: "", sql: "" };
  const { words, sql } = conditions(random, table, except);
  return { words: ` ${words}`, sql: ` where ${sql}` };
}

export const FAMILIES = {
  select(random, domain) {
    const table = someTable(random, domain);
    const [first, second] = random.shuffled(table.columns);
    const plural = pick(random, table.plurals);
    const every = pick(random, ["all ", "the ", ""]);
    if (random.uniform() < 0.4) {
      return {
        words: `${pick(random, LEADS)} the ${pick(random, first!.phrases)} of ${every}${plural}`,
        sql: `select ${first!.name} from ${table.name}`,
      };
    }
    return {
      words: `${pick(random, LEADS)} the ${pick(random, first!.phrases)} and ${pick(random, second!.phrases)} of ${every}${plural}`,
      sql: `select ${first!.name}, ${second!.name} from ${table.name}`,
    };
  },

  where(random, domain) {
    const table = someTable(random, domain);
    const plural = pick(random, table.plurals);
    const where = conditions(random, table);
    if (random.uniform() < 0.5) {
      return {
        words: pick(random, [
          `which ${plural} are there ${where.words}`,
          `name the ${plural} ${where.words}`,
        ]),
        sql: `select ${nameOf(table).name} from ${table.name} where ${where.sql}`,
      };
    }
    const column = pick(random, table.columns);
    return {
      words: `${pick(random, LEADS)} the ${pick(random, column.phrases)} of ${plural} ${where.words}`,
      sql: `select ${column.name} from ${table.name} where ${where.sql}`,
    };
  },

  count(random, domain) {
    const table = someTable(random, domain);
    const plural = pick(random, table.plurals);
    const where = maybeWhere(random, table, 0.9);
    return {
      words: pick(random, [
        `how many ${plural} are there${where.words}`,
        `count the ${plural}${where.words}`,
        `what is the number of ${plural}${where.words}`,
      ]),
      sql: `select count(*) from ${table.name}${where.sql}`,
    };
  },

  aggregate(random, domain) {
    const table = someTable(random, domain);
    const aggregate = pick(random, AGGREGATES);
    const column = pick(random, numbersOf(table));
    const where = maybeWhere(random, table, 0.65);
    return {
      words: `what is the ${pick(random, aggregate.words)} ${pick(random, column.phrases)} of ${pick(random, table.plurals)}${where.words}`,
      sql: `select ${aggregate.sql}(${column.name}) from ${table.name}${where.sql}`,
    };
  },

  group(random, domain) {
    const { table } = domain;
    const category = pick(random, categoriesOf(table));
    const [phrase, plural] = [pick(random, category.phrases), pick(random, table.plurals)];
    const per = pick(random, [`for each ${phrase}`, `per ${phrase}`, `by ${phrase}`]);
    const where = maybeWhere(random, table, 0.25, category.name);
    const tail = `from ${table.name}${where.sql} group by ${category.name}`;
    if (random.uniform() < 0.45) {
      return {
        words: pick(random, [
          `how many ${plural} are there ${per}${where.words}`,
          `count the ${plural}${where.words} ${per}`,
        ]),
        sql: `select ${category.name}, count(*) ${tail}`,
      };
    }
    const aggregate = pick(random, AGGREGATES);
    const column = pick(random, numbersOf(table));
    return {
      words: `what is the ${pick(random, aggregate.words)} ${pick(random, column.phrases)} of ${plural}${where.words} ${per}`,
      sql: `select ${category.name}, ${aggregate.sql}(${column.name}) ${tail}`,
    };
  },

  having(random, domain) {
    const { table } = domain;
    const category = pick(random, categoriesOf(table));
    const [phrase, plural] = [pick(random, category.phrases), pick(random, table.plurals)];
    const head = `select ${category.name} from ${table.name} group by ${category.name} having`;
    if (random.uniform() < 0.5) {
      const limit = 3 + random.integer(8);
      const isAbove = random.uniform() < 0.6;
      return {
        words: `which ${phrase} has ${pick(random, isAbove ? ["more than", "over"] : ["fewer than", "less than"])} ${limit} ${plural}`,
        sql: `${head} count(*) ${isAbove ? ">" : "<"} ${limit}`,
      };
    }
    const column = pick(random, numbersOf(table));
    const limit = thresholdOf(random, column);
    const isAbove = random.uniform() < 0.5;
    return {
      words: `for which ${phrase} is the ${pick(random, ["average", "mean"])} ${pick(random, column.phrases)} of ${plural} ${pick(random, isAbove ? ["above", "over"] : ["below", "under"])} ${limit}`,
      sql: `${head} avg(${column.name}) ${isAbove ? ">" : "<"} ${limit}`,
    };
  },

  order(random, domain) {
    const table = someTable(random, domain);
    const column = pick(random, numbersOf(table));
    const [phrase, plural] = [pick(random, column.phrases), pick(random, table.plurals)];
    const isDescending = random.uniform() < 0.5;
    const order = `order by ${column.name} ${isDescending ? "desc" : "asc"}`;
    const where = maybeWhere(random, table, 0.25);
    const kind = random.uniform();
    if (kind < 0.35) {
      const shown = pick(random, table.columns);
      const direction = pick(
        random,
        isDescending
          ? ["from highest to lowest", "in descending order"]
          : ["from lowest to highest", "in ascending order"],
      );
      return {
        words: `${pick(random, LEADS)} the ${pick(random, shown.phrases)} of ${plural}${where.words} sorted by ${phrase} ${direction}`,
        sql: `select ${shown.name} from ${table.name}${where.sql} ${order}`,
      };
    }
    const name = nameOf(table).name;
    if (kind < 0.65) return extreme(random, { table, column, isDescending, name, order, where });
    const limit = 2 + random.integer(4);
    return {
      words: `${pick(random, LEADS)} the ${limit} ${plural}${where.words} with the ${pick(random, isDescending ? ["highest", "largest"] : ["lowest", "smallest"])} ${phrase}`,
      sql: `select ${name} from ${table.name}${where.sql} ${order} limit ${limit}`,
    };
  },

  distinct(random, domain) {
    const table = someTable(random, domain);
    const category = pick(random, categoriesOf(table));
    const [phrase, plural] = [pick(random, category.phrases), pick(random, table.plurals)];
    const where = maybeWhere(random, table, 0.6, category.name);
    if (random.uniform() < 0.5) {
      return {
        words: `how many different ${phrase} values do ${plural}${where.words} have`,
        sql: `select count(distinct ${category.name}) from ${table.name}${where.sql}`,
      };
    }
    return {
      words: `${pick(random, LEADS)} the ${pick(random, ["different", "distinct", "unique"])} ${phrase} values of ${plural}${where.words}`,
      sql: `select distinct ${category.name} from ${table.name}${where.sql}`,
    };
  },

  nested(random, domain) {
    const { table } = domain;
    const column = pick(random, numbersOf(table));
    const [phrase, plural] = [pick(random, column.phrases), pick(random, table.plurals)];
    const shown = pick(random, table.columns);
    const isAbove = random.uniform() < 0.5;
    const inner = maybeWhere(random, table, 0.3);
    const among = inner.sql === "" ? "the average" : `the average of ${plural}${inner.words}`;
    return {
      words: `${pick(random, LEADS)} the ${pick(random, shown.phrases)} of ${plural} whose ${phrase} is ${pick(random, isAbove ? ["above", "over", "greater than"] : ["below", "under", "less than"])} ${among}`,
      sql: `select ${shown.name} from ${table.name} where ${column.name} ${isAbove ? ">" : "<"} (select avg(${column.name}) from ${table.name}${inner.sql})`,
    };
  },

  join(random, { table, parent }) {
    if (parent === undefined) return undefined;
    const other = parent.table;
    const from = `from ${table.name} join ${other.name} on ${table.name}.${parent.key} = ${other.name}.id`;
    const [children, parents] = [pick(random, table.plurals), pick(random, other.plurals)];
    const kind = random.uniform();
    if (kind < 0.4) {
      const where = condition(random, other, `${other.name}.`);
      const shown = pick(random, table.columns);
      return {
        words: `${pick(random, LEADS)} the ${pick(random, shown.phrases)} of ${children} ${parent.relation} ${parents} ${where.words}`,
        sql: `select ${table.name}.${shown.name} ${from} where ${where.sql}`,
      };
    }
    if (kind < 0.65) {
      const where = condition(random, other, `${other.name}.`);
      return {
        words: `how many ${children} are ${parent.relation} ${parents} ${where.words}`,
        sql: `select count(*) ${from} where ${where.sql}`,
      };
    }
    const name = nameOf(other).name;
    if (kind < 0.85) {
      const where = condition(random, table, `${table.name}.`);
      return {
        words: `which ${parents} have ${children} ${where.words}`,
        sql: `select distinct ${other.name}.${name} ${from} where ${where.sql}`,
      };
    }
    return {
      words: pick(random, [
        `for each of the ${parents} how many ${children} are there`,
        `count the ${children} of each of the ${parents}`,
      ]),
      sql: `select ${other.name}.${name}, count(*) ${from} group by ${other.name}.id`,
    };
  },
} satisfies Record<string, Family>;

export type FamilyName = keyof typeof FAMILIES;

interface Extreme {
  readonly table: DomainTable;
  readonly column: NumberColumn;
  readonly isDescending: boolean;
  readonly name: string;
  readonly order: string;
  readonly where: Phrase;
}

/** The one row with the highest or lowest number, by a word such as "oldest" where the column has one. */
function extreme(random: Random, { table, column, isDescending, name, order, where }: Extreme): Phrase {
  const words = isDescending ? column.most : column.least;
  const plural = pick(random, table.plurals);
  const subject =
    words !== undefined && random.uniform() < 0.6
      ? `which of the ${plural}${where.words} is the ${pick(random, words)}`
      : `which of the ${plural}${where.words} has the ${pick(random, isDescending ? ["highest", "largest"] : ["lowest", "smallest"])} ${pick(random, column.phrases)}`;
  return { words: subject, sql: `select ${name} from ${table.name}${where.sql} ${order} limit 1` };
}
