/**
 * A recipe as it is written: settings, and steps that name an action and what it is given. Values may refer to
 * settings and to what earlier steps made: `${settings.epochs}`, `${data.train}`. Knows no action by name.
 */
import { z } from "zod";
import { UserError } from "../base/index.js";

const Name = z.string().regex(/^[a-z][a-z0-9-]*$/, "expected a name of small letters, digits and hyphens");
type Plain = string | number | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };
const Plain: z.ZodType<Plain> = z.json();

export const Recipe = z.strictObject({
  name: Name.describe("Names the recipe in messages"),
  description: z.string().optional().describe("One sentence for people"),
  settings: z.record(z.string(), Plain).default({}).describe("Values that --set changes"),
  quick: z
    .record(z.string(), Plain)
    .default({})
    .describe("Settings that --quick puts in place of those above"),
  steps: z
    .record(
      Name,
      z.strictObject({
        uses: z.string().min(1).describe("The action, such as train-sft"),
        with: z.record(z.string(), Plain).default({}).describe("What it is given"),
      }),
    )
    .describe("In the order they are done"),
});
export type Recipe = z.output<typeof Recipe>;

/** Values of a step's `with`, every reference replaced. */
export type Arguments = Readonly<Record<string, Plain>>;

/** What a reference may point at: settings, and the outputs of earlier steps by name. */
export type Scope = Readonly<Record<string, Readonly<Record<string, Plain>>>>;

const REFERENCE = /\$\{([^}]*)\}/g;

/**
 * `value` with every reference replaced. A text that is one reference alone becomes what it refers to, of whatever
 * type; within a longer text the referred value is written out.
 *
 * @throws UserError naming the step for a reference to nothing
 */
export function resolveReferences(value: Plain, scope: Scope, step: string): Plain {
  if (typeof value === "string") {
    const whole = /^\$\{([^}]*)\}$/.exec(value);
    if (whole !== null) return lookUp(whole[1]!, scope, step);
    return value.replace(REFERENCE, (_, path: string) => String(lookUp(path, scope, step)));
  }
  if (Array.isArray(value)) return value.map((item: Plain) => resolveReferences(item, scope, step));
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(
      Object.entries(value).map(([key, inner]) => [key, resolveReferences(inner, scope, step)]),
    );
  }
  return value;
}

/** The names before the dot in every reference of `value`. */
export function referredNames(value: Plain): string[] {
  return [...JSON.stringify(value).matchAll(REFERENCE)].map((match) => match[1]!.split(".")[0]!.trim());
}

function lookUp(path: string, scope: Scope, step: string): Plain {
  const [name = "", ...rest] = path.trim().split(".");
  const key = rest.join(".");
  const known = scope[name];
  if (known === undefined) {
    throw new UserError(
      `Cannot do step "${step}": \${${path}} refers to "${name}", expected settings or an earlier step (${Object.keys(scope).join(", ")})`,
    );
  }
  const value = known[key];
  if (value === undefined) {
    throw new UserError(
      `Cannot do step "${step}": \${${path}} refers to nothing, expected one of ${
        Object.keys(known)
          .map((one) => `${name}.${one}`)
          .join(", ") || `${name} to have outputs`
      }`,
    );
  }
  return value;
}
