/**
 * SQL of Spider's subset to the benchmark's structure. Recursive descent over the tokens, because the structure is
 * defined by the order of tokens rather than by SQL's meaning: conditions are flat, one direction serves all of
 * ORDER BY, an alias means the last table it was given anywhere in the query, and `a = b OR c = d` ends at `b`.
 *
 * Reads more than the benchmark's own parser does: operators without spaces, `<>`, IS NULL, aliases without AS, outer
 * joins, commas in FROM, UNION ALL, quoted identifiers.
 */
import type { DatabaseSchema } from "../schema.js";
import { lexSql, SqlSyntaxError, type SqlToken } from "../sql-lexer.js";
import { type ColumnScope, createColumnScope } from "./columns.js";
import {
  AGGREGATES,
  type Aggregate,
  CONDITION_OPERATORS,
  type ColumnUnit,
  type ConditionOperator,
  type Conditions,
  type ConditionUnit,
  type ConditionValue,
  EMPTY_QUERY,
  SET_OPERATORS,
  type SelectItem,
  type SpiderQuery,
  type TableUnit,
  UNIT_OPERATORS,
  type ValueUnit,
} from "./query.js";

const CLAUSE_WORDS = new Set([
  "select",
  "from",
  "where",
  "group",
  "having",
  "order",
  "limit",
  "intersect",
  "union",
  "except",
  "join",
  "inner",
  "left",
  "right",
  "full",
  "cross",
  "natural",
  "outer",
  "on",
  "as",
]);
/** No names either: what stands between clauses and their parts. */
const OTHER_WORDS: ReadonlySet<string> = new Set([
  "asc",
  "desc",
  "by",
  "and",
  "or",
  "not",
  "distinct",
  ...CONDITION_OPERATORS,
]);
const MAX_DEPTH = 50;

export interface ParseOptions {
  /**
   * What follows the query: a fault, or nothing to look at, as the benchmark has it.
   *
   * @default "refused"
   */
  readonly rest?: "refused" | "ignored";
}

/** @throws SqlSyntaxError when `sql` is outside the grammar or names what the schema does not have */
export function parseSpiderQuery(
  sql: string,
  schema: DatabaseSchema,
  { rest = "refused" }: ParseOptions = {},
): SpiderQuery {
  const tokens = withWholeSigns(lexSql(sql));
  const parser = new Parser(tokens, createColumnScope(schema, tokens));
  return parser.whole(rest === "ignored");
}

/** `> =`, `< =` and `! =` are one sign each. */
function withWholeSigns(tokens: readonly SqlToken[]): SqlToken[] {
  const isSign = (token: SqlToken | undefined, signs: string): boolean =>
    token?.kind === "sign" && signs.includes(token.value);
  return tokens.flatMap((token, at) => {
    if (isSign(token, "=") && isSign(tokens[at - 1], "><!")) return [];
    return isSign(token, "><!") && isSign(tokens[at + 1], "=")
      ? [{ kind: "sign", value: `${token.value}=` }]
      : [token];
  });
}

class Parser {
  #at = 0;
  #depth = 0;
  readonly #tokens: readonly SqlToken[];
  readonly #columns: ColumnScope;

  constructor(tokens: readonly SqlToken[], columns: ColumnScope) {
    this.#tokens = tokens;
    this.#columns = columns;
  }

  whole(mayHaveRest: boolean): SpiderQuery {
    const query = this.#query();
    while (this.#take(";"));
    if (this.#at < this.#tokens.length && !mayHaveRest) this.#fail("the end of the query");
    return query;
  }

  #query(): SpiderQuery {
    if (++this.#depth > MAX_DEPTH) throw new SqlSyntaxError(`queries nest deeper than ${MAX_DEPTH}`);
    const isBlock = this.#take("(");
    this.#expect("select");
    // What FROM names decides which tables the selected columns may come from, so it is read first.
    const selectAt = this.#at;
    this.#skipToFrom();
    const { tables, conditions, names } = this.#from();
    const afterFrom = this.#at;
    this.#at = selectAt;
    const select = this.#select(names);
    if (!this.#is("from")) this.#fail("FROM");
    this.#at = afterFrom;
    const where = this.#take("where") ? this.#conditions(names) : EMPTY_QUERY.where;
    const groupBy = this.#takeBy("group") ? this.#list(() => this.#columnUnit(names)) : [];
    const having = this.#take("having") ? this.#conditions(names) : EMPTY_QUERY.having;
    const orderBy = this.#takeBy("order") ? this.#orderBy(names) : null;
    const limit = this.#take("limit") ? this.#limit() : null;
    while (isBlock && this.#take(";"));
    if (isBlock) this.#expect(")");
    const sets = { intersect: null, union: null, except: null } as Record<
      (typeof SET_OPERATORS)[number],
      SpiderQuery | null
    >;
    const set = SET_OPERATORS.find((operator) => this.#take(operator));
    if (set !== undefined) {
      this.#take("all");
      sets[set] = this.#query();
    }
    this.#depth--;
    return {
      select,
      from: { tables, conditions },
      where,
      groupBy,
      having,
      orderBy,
      limit,
      ...sets,
    };
  }

  #skipToFrom(): void {
    let depth = 0;
    for (; this.#at < this.#tokens.length; this.#at++) {
      if (this.#is("(")) depth++;
      else if (this.#is(")")) depth--;
      else if (depth === 0 && this.#is("from")) return;
    }
    this.#fail("FROM");
  }

  #select(names: readonly string[]): SpiderQuery["select"] {
    const isDistinct = this.#take("distinct");
    const items = this.#list((): SelectItem => {
      const aggregate = this.#aggregate() ?? "none";
      const unit = this.#valueUnit(names);
      this.#skipColumnAlias();
      return { aggregate, unit };
    });
    return { isDistinct, items };
  }

  #from(): { tables: TableUnit[]; conditions: Conditions; names: string[] } {
    this.#expect("from");
    const tables: TableUnit[] = [];
    const names: string[] = [];
    const units: ConditionUnit[] = [];
    const joins: ("and" | "or")[] = [];
    do {
      if (this.#is("(") && this.#is("select", 1)) {
        tables.push({ kind: "query", query: this.#nestedQuery() });
      } else {
        const isBlock = this.#take("(");
        const name = this.#tableName();
        tables.push({ kind: "table", table: name });
        names.push(name);
        if (isBlock) this.#expect(")");
      }
      this.#skipTableAlias();
      if (this.#take("on")) {
        const more = this.#conditions(names);
        if (units.length > 0) joins.push("and");
        units.push(...more.units);
        joins.push(...more.joins);
      }
    } while (this.#takeJoin());
    this.#expectClause();
    return { tables, conditions: { units, joins }, names };
  }

  #takeJoin(): boolean {
    if (this.#take(",")) return true;
    const start = this.#at;
    while (["natural", "inner", "left", "right", "full", "cross", "outer"].some((word) => this.#take(word)));
    if (this.#take("join")) return true;
    this.#at = start;
    return false;
  }

  #tableName(): string {
    const token = this.#next("a table");
    const name = token.kind === "word" || token.kind === "quoted" ? token.value.toLowerCase() : "";
    return this.#columns.table(name) ?? this.#refuse(`"${token.value}" is not a table of the database`);
  }

  #skipTableAlias(): void {
    if (this.#take("as")) this.#at++;
    else if (this.#isName()) this.#at++;
  }

  #skipColumnAlias(): void {
    if (this.#take("as")) this.#at++;
  }

  #conditions(names: readonly string[]): Conditions {
    const units: ConditionUnit[] = [];
    const joins: ("and" | "or")[] = [];
    for (;;) {
      units.push(this.#condition(names));
      const join = this.#take("and") ? "and" : this.#take("or") ? "or" : undefined;
      if (join === undefined) break;
      joins.push(join);
    }
    this.#expectClause();
    return { units, joins };
  }

  /** FROM and conditions go on until another clause, or the end. */
  #expectClause(): void {
    const token = this.#tokens[this.#at];
    if (token === undefined || [")", ";", ","].some((sign) => this.#is(sign))) return;
    if (token.kind !== "word" || !CLAUSE_WORDS.has(token.value)) this.#fail("a clause");
  }

  #condition(names: readonly string[]): ConditionUnit {
    const unit = this.#valueUnit(names);
    let isNegated = this.#take("not");
    const operator = this.#conditionOperator();
    if (operator === "is" && this.#take("not")) isNegated = true;
    const value = this.#value(names);
    if (operator !== "between") return { isNegated, operator, unit, value, upper: null };
    this.#expect("and");
    return { isNegated, operator, unit, value, upper: this.#value(names) };
  }

  #conditionOperator(): ConditionOperator {
    const token = this.#next("a comparison");
    const found = CONDITION_OPERATORS.find((operator) => operator === token.value);
    if (found === undefined || token.kind === "quoted" || found === "not") {
      this.#at--;
      return this.#fail("a comparison");
    }
    return found;
  }

  #value(names: readonly string[]): ConditionValue {
    if (this.#is("(") && this.#is("select", 1)) return { kind: "query", query: this.#nestedQuery() };
    if (this.#is("select")) return { kind: "query", query: this.#query() };
    const isBlock = this.#take("(");
    const value = this.#plainValue(names);
    if (isBlock) {
      // Spider has no lists of values; IN with a list is read as its first.
      while (this.#take(",")) this.#plainValue(names);
      this.#expect(")");
    }
    return value;
  }

  /** A query in parentheses, which end it: a set operator behind them belongs to the outer query. */
  #nestedQuery(): SpiderQuery {
    this.#expect("(");
    const query = this.#query();
    this.#expect(")");
    return query;
  }

  #plainValue(names: readonly string[]): ConditionValue {
    const token = this.#tokens[this.#at];
    if (token?.kind === "quoted" && (token.quote === "'" || !this.#isColumnNext(names))) {
      this.#at++;
      return { kind: "text", value: token.value };
    }
    const isNegative = this.#is("-") && this.#tokens[this.#at + 1]?.kind === "number";
    const number = this.#tokens[this.#at + (isNegative ? 1 : 0)];
    if (number?.kind === "number") {
      this.#at += isNegative ? 2 : 1;
      return { kind: "number", value: Number(number.value) * (isNegative ? -1 : 1) };
    }
    if (this.#take("null")) return { kind: "text", value: "null" };
    const unit = this.#columnUnit(names);
    this.#skipPastColumn();
    return { kind: "column", unit };
  }

  /** Behind a column as a value, the benchmark skips all up to these: `+ column`, but OR and its condition too. */
  #skipPastColumn(): void {
    const stops = [
      ",",
      ")",
      "and",
      "select",
      "from",
      "where",
      "group",
      "order",
      "limit",
      "intersect",
      "union",
    ];
    const isStop = (): boolean => [...stops, "except", "join", "on", "as"].some((word) => this.#is(word));
    while (this.#at < this.#tokens.length && !isStop()) this.#at++;
  }

  /** The structure has no place for a comparison in ORDER BY: it is dropped. */
  #skipArithmetic(names: readonly string[]): void {
    const isSign = (sign: string): boolean => this.#is(sign);
    while (["+", "-", "*", "/", ">", "<", ">=", "<=", "=", "!="].some(isSign)) {
      this.#at++;
      this.#plainValue(names);
    }
  }

  #isColumnNext(names: readonly string[]): boolean {
    if (this.#is(".", 1)) return true;
    const token = this.#tokens[this.#at]!;
    return this.#columns.column(undefined, token.value.toLowerCase(), names) !== undefined;
  }

  #valueUnit(names: readonly string[]): ValueUnit {
    const isBlock = this.#take("(");
    const left = this.#columnUnit(names);
    const operator = UNIT_OPERATORS.find((sign) => sign !== "none" && this.#is(sign)) ?? "none";
    if (operator !== "none") this.#at++;
    const right = operator === "none" ? null : this.#columnUnit(names);
    if (isBlock) this.#expect(")");
    return { operator, left, right };
  }

  #columnUnit(names: readonly string[]): ColumnUnit {
    const isBlock = this.#take("(");
    const aggregate = this.#aggregate();
    if (aggregate !== undefined) this.#expect("(");
    const isDistinct = this.#take("distinct");
    const column = this.#column(names);
    if (aggregate !== undefined) {
      this.#expect(")");
    }
    if (isBlock) this.#expect(")");
    return { aggregate: aggregate ?? "none", column, isDistinct };
  }

  /** An aggregate's name, where a parenthesis follows it. */
  #aggregate(): Aggregate | undefined {
    const token = this.#tokens[this.#at];
    const found = AGGREGATES.find(
      (name) => name !== "none" && token?.kind === "word" && token.value === name,
    );
    if (found === undefined || !this.#is("(", 1)) return undefined;
    this.#at++;
    return found;
  }

  #column(names: readonly string[]): string {
    if (this.#take("*")) return "*";
    const token = this.#next("a column");
    if (token.kind !== "word" && token.kind !== "quoted") {
      this.#at--;
      return this.#fail("a column");
    }
    const isQualified = this.#take(".");
    if (isQualified && this.#take("*")) return "*";
    const last = isQualified ? this.#next("a column") : token;
    const name = last.value.toLowerCase();
    const qualifier = isQualified ? token.value.toLowerCase() : undefined;
    return (
      this.#columns.column(qualifier, name, names) ??
      this.#refuse(
        `"${qualifier === undefined ? "" : `${qualifier}.`}${name}" is not a column of ${names.join(", ") || "the query's tables"}`,
      )
    );
  }

  #orderBy(names: readonly string[]): SpiderQuery["orderBy"] {
    let direction: "asc" | "desc" = "asc";
    const units = this.#list(() => {
      const unit = this.#valueUnit(names);
      this.#skipArithmetic(names);
      if (this.#take("desc")) direction = "desc";
      else if (this.#take("asc")) direction = "asc";
      return unit;
    });
    return { direction, units };
  }

  #limit(): number {
    const sign = this.#take("-") ? -1 : 1;
    const token = this.#next("a number");
    if (token.kind !== "number") {
      this.#at--;
      return this.#fail("a number");
    }
    return sign * Math.trunc(Number(token.value));
  }

  #list<T>(read: () => T): T[] {
    const items = [read()];
    while (this.#take(",")) items.push(read());
    return items;
  }

  #isName(): boolean {
    const token = this.#tokens[this.#at];
    return (
      token?.kind === "quoted" ||
      (token?.kind === "word" && !CLAUSE_WORDS.has(token.value) && !OTHER_WORDS.has(token.value))
    );
  }

  #is(value: string, ahead = 0): boolean {
    const token = this.#tokens[this.#at + ahead];
    return token !== undefined && token.kind !== "quoted" && token.value === value;
  }

  #take(value: string): boolean {
    const isNext = this.#is(value);
    if (isNext) this.#at++;
    return isNext;
  }

  #takeBy(word: "group" | "order"): boolean {
    if (!this.#take(word)) return false;
    this.#expect("by");
    return true;
  }

  #expect(value: string): void {
    if (!this.#take(value)) this.#fail(value.toUpperCase());
  }

  #next(expected: string): SqlToken {
    const token = this.#tokens[this.#at];
    if (token === undefined) return this.#fail(expected);
    this.#at++;
    return token;
  }

  #refuse(problem: string): never {
    throw new SqlSyntaxError(problem);
  }

  #fail(expected: string): never {
    const token = this.#tokens[this.#at];
    const found = token === undefined ? "the SQL ends" : `found "${token.value}"`;
    throw new SqlSyntaxError(`${found}, expected ${expected}`);
  }
}
