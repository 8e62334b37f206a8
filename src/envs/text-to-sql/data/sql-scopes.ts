/** Which SELECT each token of a query belongs to, and the tables and aliases that its FROM names. Tokens only. */
import type { SqlToken } from "./sql-lexer.js";
import { RESERVED } from "./sql-printer.js";

export interface TableReference {
  /** Lower case; undefined for a query in parentheses. */
  readonly table: string | undefined;
  readonly alias: string | undefined;
  /** Positions of the alias and of its AS. */
  readonly aliasAt: readonly number[];
}

export interface Scope {
  /** The scope around it, whose names it sees too. */
  readonly outer: Scope | undefined;
  readonly tables: TableReference[];
}

export interface ScopedTokens {
  /** For each token; undefined before the first SELECT. */
  readonly scopes: readonly (Scope | undefined)[];
  readonly all: readonly Scope[];
  /** Positions where a table is named in FROM. */
  readonly tablesAt: ReadonlySet<number>;
}

interface Frame {
  readonly outer: Scope | undefined;
  scope: Scope | undefined;
  isInFrom: boolean;
  isTableNext: boolean;
}

const AFTER_FROM = new Set(["where", "group", "having", "order", "limit", "intersect", "union", "except"]);

export function findScopes(tokens: readonly SqlToken[]): ScopedTokens {
  const scopes: (Scope | undefined)[] = [];
  const all: Scope[] = [];
  const tablesAt = new Set<number>();
  const frames: Frame[] = [{ outer: undefined, scope: undefined, isInFrom: false, isTableNext: false }];
  const top = (): Frame => frames.at(-1)!;

  tokens.forEach((token, at) => {
    const frame = top();
    const value = token.kind === "quoted" ? undefined : token.value;
    if (value === "select") {
      frame.scope = { outer: frame.outer, tables: [] };
      frame.isInFrom = false;
      all.push(frame.scope);
    }
    const scope = frame.scope ?? frame.outer;
    scopes.push(scope);
    if (value === "(") {
      frames.push({ outer: scope, scope: undefined, isInFrom: false, isTableNext: false });
      // A parenthesis in place of a table is a query of its own, or a table in parentheses.
      if (frame.isTableNext && tokens[at + 1]?.value !== "select") {
        Object.assign(top(), { scope: frame.scope, isInFrom: true, isTableNext: true });
      }
    } else if (value === ")") {
      if (frames.length > 1) frames.pop();
      const outside = top();
      if (outside.isTableNext) {
        outside.isTableNext = false;
        outside.scope?.tables.push({ table: undefined, ...aliasAfter(tokens, at) });
      }
    } else if (value === "from" || value === "join" || (value === "," && frame.isInFrom)) {
      frame.isInFrom = true;
      frame.isTableNext = true;
    } else if (value !== undefined && AFTER_FROM.has(value)) {
      frame.isInFrom = false;
      frame.isTableNext = false;
    } else if (frame.isTableNext && (token.kind === "word" || token.kind === "quoted")) {
      frame.isTableNext = false;
      tablesAt.add(at);
      frame.scope?.tables.push({ table: token.value.toLowerCase(), ...aliasAfter(tokens, at) });
    }
  });
  return { scopes, all, tablesAt };
}

function aliasAfter(tokens: readonly SqlToken[], at: number): Pick<TableReference, "alias" | "aliasAt"> {
  const next = tokens[at + 1];
  const isAs = next?.kind === "word" && next.value === "as";
  const name = isAs ? tokens[at + 2] : next;
  const isName = name?.kind === "quoted" || (name?.kind === "word" && !RESERVED.has(name.value));
  if (name === undefined || !isName) return { alias: undefined, aliasAt: [] };
  return { alias: name.value.toLowerCase(), aliasAt: isAs ? [at + 1, at + 2] : [at + 1] };
}

/** The nearest scope, from the inside, whose FROM names `name`, with the reference. */
export function ownerOf(
  name: string,
  scope: Scope | undefined,
): { readonly scope: Scope; readonly reference: TableReference } | undefined {
  for (let at = scope; at !== undefined; at = at.outer) {
    const reference = at.tables.find(({ table, alias }) => (alias ?? table) === name);
    if (reference !== undefined) return { scope: at, reference };
  }
  return undefined;
}
