/** What a zod schema says about its keys: for suggestions and for the table in the documentation. */
import { z } from "zod";

/** One key of a configuration. Its `path` has dots: `data.train`. */
export interface ConfigKey {
  readonly path: string;
  readonly type: string;
  /** As YAML would write it; absent where the key must be given or has no default. */
  readonly default?: string;
  readonly isRequired: boolean;
  readonly description: string;
  /** What other trainers call it. */
  readonly aliases: readonly string[];
}

/** The part of JSON Schema that zod emits for our configurations. */
interface SchemaNode {
  readonly type?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly required?: readonly string[];
  readonly anyOf?: readonly SchemaNode[];
  readonly items?: SchemaNode;
  readonly enum?: readonly unknown[];
  readonly const?: unknown;
  readonly default?: unknown;
  readonly description?: string;
  readonly aliases?: readonly string[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly exclusiveMinimum?: number;
  readonly exclusiveMaximum?: number;
}

/** Every key of `schema`, outer ones before inner ones. */
export function configKeys(schema: z.ZodType): ConfigKey[] {
  // zod types its result as all of JSON Schema; SchemaNode names the keywords that are read here.
  const root = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as SchemaNode;
  return keysOf(root, "");
}

/** A Markdown table of every key of `schema`: name, type, default, meaning. */
export function describeConfig(schema: z.ZodType): string {
  const escaped = (text: string): string => text.replaceAll("|", "\\|");
  const rows = configKeys(schema).map((key) => {
    const fallback = key.default !== undefined ? `\`${key.default}\`` : key.isRequired ? "required" : "";
    return `| \`${key.path}\` | ${escaped(key.type)} | ${escaped(fallback)} | ${escaped(key.description)} |`;
  });
  return ["| key | type | default | meaning |", "|---|---|---|---|", ...rows].join("\n");
}

function keysOf(node: SchemaNode, prefix: string): ConfigKey[] {
  return Object.entries(node.properties ?? {}).flatMap(([name, child]) => {
    const path = `${prefix}${name}`;
    const key: ConfigKey = {
      path,
      type: typeOf(child),
      ...(child.default === undefined ? {} : { default: yamlOf(child.default) }),
      isRequired: child.default === undefined && (node.required ?? []).includes(name),
      description: child.description ?? "",
      aliases: child.aliases ?? [],
    };
    const inner = [child, ...(child.anyOf ?? [])].flatMap((one) => keysOf(one, `${path}.`));
    return [key, ...inner];
  });
}

function typeOf(node: SchemaNode): string {
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(" or ");
  if (node.enum !== undefined) return node.enum.map((value) => `\`${yamlOf(value)}\``).join(" or ");
  if (node.const !== undefined) return `\`${yamlOf(node.const)}\``;
  if (node.type === "array") return `list of ${typeOf(node.items ?? {})}`;
  if (node.type === "integer" || node.type === "number") {
    return `${node.type === "integer" ? "whole number" : "number"}${rangeOf(node)}`;
  }
  const words = { string: "text", boolean: "true or false", object: "section", null: "`null`" };
  return Object.entries(words).find(([type]) => type === node.type)?.[1] ?? "any";
}

function rangeOf(node: SchemaNode): string {
  const limits = [
    node.minimum === undefined ? "" : `≥ ${node.minimum}`,
    node.exclusiveMinimum === undefined ? "" : `> ${node.exclusiveMinimum}`,
    // zod bounds whole numbers by what a double holds; that is no limit of ours.
    node.maximum === undefined || node.maximum >= Number.MAX_SAFE_INTEGER ? "" : `≤ ${node.maximum}`,
    node.exclusiveMaximum === undefined ? "" : `< ${node.exclusiveMaximum}`,
  ].filter((limit) => limit !== "");
  return limits.length === 0 ? "" : ` ${limits.join(", ")}`;
}

function yamlOf(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential();
  return JSON.stringify(value);
}
