/**
 * Makes the library's Jinja interpreter do what Python's does, by rewriting the parsed template. The interpreter
 * differs in what it prints (`True`, `None`, lists), in `==`, `strip(chars)`, `trim`, `tojson`, and in that
 * variables set in a loop or in a `{% generation %}` block outlive it. Knows the syntax tree; renders nothing.
 */
import { jinja, type TemplateNode } from "./library.js";

/** Names that the rewritten template calls; `template-functions.ts` defines them. */
export type RewrittenCall =
  | "hone_text"
  | "hone_concat"
  | "hone_equal"
  | "hone_differ"
  | "hone_strip"
  | "hone_lstrip"
  | "hone_rstrip"
  | "hone_tojson"
  | "hone_length"
  | "hone_capitalize"
  | "hone_title"
  | "hone_join"
  | "hone_iterable"
  | "hone_not_iterable";

/** Variables that print where a `{% generation %}` block begins and ends. */
export const GENERATION_START = "hone_generation_start";
export const GENERATION_END = "hone_generation_end";

/** `{% generation %}` in any spelling of white-space control. */
const GENERATION_TAG = /\{%([-+]?)\s*(end)?generation\s*([-+]?)%\}/g;
const GENERATION_FILTER = "hone_generation";

const FILTERS: Readonly<Record<string, RewrittenCall>> = {
  trim: "hone_strip",
  tojson: "hone_tojson",
  string: "hone_text",
  length: "hone_length",
  count: "hone_length",
  capitalize: "hone_capitalize",
  title: "hone_title",
  join: "hone_join",
};
const METHODS: Readonly<Record<string, RewrittenCall>> = {
  strip: "hone_strip",
  lstrip: "hone_lstrip",
  rstrip: "hone_rstrip",
  capitalize: "hone_capitalize",
  title: "hone_title",
};
const OPERATORS: Readonly<Record<string, RewrittenCall>> = {
  "==": "hone_equal",
  "!=": "hone_differ",
  "~": "hone_concat",
};
const STATEMENTS = [
  "Set",
  "If",
  "For",
  "Macro",
  "CallStatement",
  "FilterStatement",
  "Break",
  "Continue",
  "Comment",
];

/** Parses a template as Jinja would and rewrites it. Throws the library's error on bad syntax. */
export function parseTemplate(source: string): TemplateNode {
  // A generation block becomes a filter block, because white space around tags then follows the rules for blocks.
  const blocks = source
    .replace(/\r\n?/g, "\n")
    .replace(GENERATION_TAG, (_, before: string, end: string | undefined, after: string) =>
      end === undefined
        ? `{%${before} filter ${GENERATION_FILTER} ${after}%}`
        : `{%${before} endfilter ${after}%}`,
    );
  const program = jinja.parse(jinja.tokenize(blocks, { lstrip_blocks: true, trim_blocks: true }));
  const names = { next: 0 };
  program["body"] = rewriteBlock(nodesOf(program["body"]), names);
  return program;
}

export function hasGenerationBlocks(source: string): boolean {
  return source.search(GENERATION_TAG) >= 0;
}

interface FreshNames {
  next: number;
}

function rewriteBlock(statements: readonly TemplateNode[], names: FreshNames): TemplateNode[] {
  return statements.flatMap((node): TemplateNode[] => {
    if (node.type === "StringLiteral") return [node];
    if (!STATEMENTS.includes(node.type)) return [call("hone_text", [rewrite(node, names)])];
    const isGeneration =
      node.type === "FilterStatement" && (node["filter"] as TemplateNode)["value"] === GENERATION_FILTER;
    if (isGeneration) {
      const body = nodesOf(node["body"]);
      const scope = scopeOf(body, [], names);
      return [
        ...scope.remember,
        identifier(GENERATION_START),
        ...rewriteBlock(body, names),
        identifier(GENERATION_END),
        ...scope.restore,
      ];
    }
    if (node.type !== "For") return [rewrite(node, names)];
    const scope = scopeOf(nodesOf(node["body"]), namesIn(node["loopvar"] as TemplateNode), names);
    const loop = rewrite(node, names);
    loop["body"] = [...scope.restore, ...nodesOf(loop["body"])];
    return [...scope.remember, loop];
  });
}

/** Changes `node` and what is below it; returns what takes its place. */
function rewrite(node: TemplateNode, names: FreshNames): TemplateNode {
  for (const [field, value] of Object.entries(node)) {
    if (field === "body" || field === "alternate" || field === "defaultBlock") {
      node[field] = rewriteBlock(nodesOf(value), names);
    } else if (field !== "filter" || node.type !== "FilterExpression") {
      node[field] = rewriteValue(value, names);
    }
  }
  switch (node.type) {
    case "BinaryExpression": {
      const operator = OPERATORS[String((node["operator"] as TemplateNode)["value"])];
      return operator === undefined
        ? node
        : call(operator, [node["left"] as TemplateNode, node["right"] as TemplateNode]);
    }
    case "FilterExpression":
      return rewriteFilter(node, names);
    case "CallExpression": {
      const callee = node["callee"] as TemplateNode;
      if (callee.type !== "MemberExpression" || callee["computed"] === true) return node;
      const name = String((callee["property"] as TemplateNode)["value"]);
      const method = Object.hasOwn(METHODS, name) ? METHODS[name] : undefined;
      return method === undefined
        ? node
        : call(method, [callee["object"] as TemplateNode, ...nodesOf(node["args"])]);
    }
    case "TestExpression":
      if ((node["test"] as TemplateNode)["value"] !== "iterable") return node;
      return call(node["negate"] === true ? "hone_not_iterable" : "hone_iterable", [
        node["operand"] as TemplateNode,
      ]);
    default:
      return node;
  }
}

function rewriteValue(value: unknown, names: FreshNames): unknown {
  if (Array.isArray(value)) return value.map((item) => rewriteValue(item, names));
  if (value instanceof Map) {
    return new Map(Array.from(value, ([key, item]) => [rewriteValue(key, names), rewriteValue(item, names)]));
  }
  return isNode(value) ? rewrite(value, names) : value;
}

function rewriteFilter(node: TemplateNode, names: FreshNames): TemplateNode {
  const filter = node["filter"] as TemplateNode;
  const isCall = filter.type === "CallExpression";
  const name = String((isCall ? (filter["callee"] as TemplateNode) : filter)["value"]);
  const args = isCall ? nodesOf(rewriteValue(filter["args"], names)) : [];
  const rewritten = Object.hasOwn(FILTERS, name) ? FILTERS[name] : undefined;
  if (rewritten !== undefined) return call(rewritten, [node["operand"] as TemplateNode, ...args]);
  if (isCall) filter["args"] = args;
  return node;
}

/**
 * In Python, what a block sets is forgotten at its end (or at the loop's next turn). `remember` notes the outer
 * values before the block, `restore` brings them back.
 */
function scopeOf(
  body: readonly TemplateNode[],
  except: readonly string[],
  names: FreshNames,
): { remember: TemplateNode[]; restore: TemplateNode[] } {
  const remember: TemplateNode[] = [];
  const restore: TemplateNode[] = [];
  for (const name of new Set(body.flatMap(namesSetBy))) {
    if (except.includes(name)) continue;
    const outer = `hone_outer_${names.next++}_${name}`;
    remember.push(assignment(outer, name));
    restore.push(assignment(name, outer));
  }
  return { remember, restore };
}

/** Names that a statement sets in its own scope: inner loops and macros have scopes of their own. */
function namesSetBy(node: TemplateNode): string[] {
  if (node.type === "Set") return namesIn(node["assignee"] as TemplateNode);
  if (node.type !== "If") return [];
  return [...nodesOf(node["body"]), ...nodesOf(node["alternate"])].flatMap(namesSetBy);
}

function namesIn(target: TemplateNode): string[] {
  if (target.type === "Identifier") return [String(target["value"])];
  return target.type === "TupleLiteral" ? nodesOf(target["value"]).flatMap(namesIn) : [];
}

/** `name([…positional], …keywords)`: in a list, the interpreter's values arrive whole. */
function call(name: RewrittenCall, args: readonly TemplateNode[]): TemplateNode {
  const isKeyword = (arg: TemplateNode): boolean => arg.type.startsWith("Keyword");
  const node = expression(`${name}([])`);
  const list = nodesOf(node["args"])[0]!;
  list["value"] = args.filter((arg) => !isKeyword(arg));
  node["args"] = [list, ...args.filter(isKeyword)];
  return node;
}

function identifier(name: string): TemplateNode {
  return expression(name);
}

function assignment(target: string, source: string): TemplateNode {
  return statement(`{% set ${target} = ${source} %}`);
}

/** New nodes are parsed, so that they are of the library's own classes. */
function expression(source: string): TemplateNode {
  return statement(`{{ ${source} }}`);
}

function statement(source: string): TemplateNode {
  return nodesOf(jinja.parse(jinja.tokenize(source))["body"])[0]!;
}

function isNode(value: unknown): value is TemplateNode {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}

function nodesOf(value: unknown): TemplateNode[] {
  return Array.isArray(value) ? value.filter(isNode) : [];
}
