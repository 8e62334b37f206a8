/**
 * Refuses what is not one reading statement, before SQLite sees it: SQLite's read-only mode keeps the database safe,
 * but libsql also has functions that read and write files, and it ignores what follows the first statement.
 */
import type { SqlFailure } from "./outcome.js";
import { type SqlToken, sqlTokens } from "./tokens.js";

/** What this build of SQLite offers beyond what queries need; see `forbiddenNames`. */
export interface ForbiddenNames {
  readonly functions: ReadonlySet<string>;
  /** Table-valued functions and virtual tables, lower case. */
  readonly modules: ReadonlySet<string>;
}

export interface CheckedStatement {
  readonly kind: "checked";
  /** The statement alone, without what follows its last token. */
  readonly sql: string;
  readonly tokens: readonly SqlToken[];
}

const MAX_CHARACTERS = 4_000_000;
const MAX_QUOTED_CHARACTERS = 40;

const OTHER_STATEMENTS = new Set(
  `alter analyze attach begin commit create delete detach drop end explain insert pragma reindex release replace
   rollback savepoint update vacuum`.split(/\s+/),
);
const WRITING = new Set(["insert", "update", "delete", "replace"]);

export function checkStatement(sql: string, forbidden: ForbiddenNames): CheckedStatement | SqlFailure {
  if (sql.length > MAX_CHARACTERS)
    return denied(`the statement has ${sql.length} characters, expected at most ${MAX_CHARACTERS}`);
  if (sql.includes("\0"))
    return denied("the statement contains a NUL character, which would hide what follows");
  const statements = splitStatements(sqlTokens(sql));
  const tokens = statements[0];
  if (tokens === undefined) return { kind: "syntax_error", message: "there is no statement" };
  // What we cannot read, SQLite must not read in another way: a name might hide behind it.
  const broken = statements.flat().find(({ kind }) => kind === "broken");
  if (broken !== undefined) {
    const shown = JSON.stringify(broken.value.slice(0, MAX_QUOTED_CHARACTERS));
    return { kind: "syntax_error", message: `unrecognized token: ${shown}` };
  }
  if (statements.length > 1) return denied(`there are ${statements.length} statements, expected one`);
  const verb = mainVerb(tokens);
  if (OTHER_STATEMENTS.has(verb)) return denied(`${verb.toUpperCase()} is not allowed, only SELECT is`);
  const problem = forbiddenUse(tokens, forbidden);
  if (problem !== null) return problem;
  return { kind: "checked", sql: sql.slice(tokens[0]!.start, tokens.at(-1)!.end), tokens };
}

function splitStatements(tokens: readonly SqlToken[]): readonly (readonly SqlToken[])[] {
  const statements: SqlToken[][] = [[]];
  for (const token of tokens) {
    if (isSymbol(token, ";")) statements.push([]);
    else statements.at(-1)!.push(token);
  }
  return statements.filter(({ length }) => length > 0);
}

/** The statement's first word; after WITH, the word that follows the list of tables. */
function mainVerb(tokens: readonly SqlToken[]): string {
  const first = wordOf(tokens[0]);
  if (first !== "with") return first;
  let depth = 0;
  for (const [i, token] of tokens.entries()) {
    if (isSymbol(token, "(")) depth++;
    else if (isSymbol(token, ")")) depth--;
    else if (depth === 0 && i > 0) {
      const word = wordOf(token);
      if (word === "select" || word === "values") return word;
      // REPLACE is also allowed as a name.
      if (WRITING.has(word) && (word !== "replace" || wordOf(tokens[i + 1]) === "into")) return word;
    }
  }
  return first;
}

function forbiddenUse(
  tokens: readonly SqlToken[],
  { functions, modules }: ForbiddenNames,
): SqlFailure | null {
  for (const [i, token] of tokens.entries()) {
    if (token.kind === "parameter")
      return { kind: "error", message: `the parameter ${token.value} has no value` };
    if (token.kind !== "word" && token.kind !== "quoted" && token.kind !== "string") continue;
    const name = token.value.toLowerCase();
    if (functions.has(name) && token.kind !== "string" && isSymbol(tokens[i + 1], "("))
      return denied(`the function ${token.value} is not allowed`);
    // As a string, too: SQLite takes FROM 'name'.
    if (modules.has(name) || name.startsWith("pragma_"))
      return denied(`the table ${token.value} is not allowed`);
  }
  return null;
}

export function isSymbol(token: SqlToken | undefined, symbol: string): boolean {
  return token?.kind === "symbol" && token.value === symbol;
}

function wordOf(token: SqlToken | undefined): string {
  return token?.kind === "word" ? token.value.toLowerCase() : "";
}

function denied(message: string): SqlFailure {
  return { kind: "denied", message };
}
