/**
 * What Python does with the values of a template: `str`, `repr`, `==`, `str.strip`, `json.dumps`.
 * Knows the interpreter's values by their type names; knows nothing about templates.
 */

/** A value of the template interpreter. Lists hold values, objects are maps of values. */
export interface TemplateValue {
  readonly type: string;
  readonly value: unknown;
}

/** White space as Python's `str.strip` and `str.isspace` see it. */
const PYTHON_SPACE = "\\p{White_Space}\\u001c-\\u001f";

/** `str(value)`, as Jinja prints an expression; an undefined value prints nothing. */
export function pythonText(value: TemplateValue): string {
  return value.type === "UndefinedValue"
    ? ""
    : typeof value.value === "string"
      ? value.value
      : pythonRepr(value);
}

export function pythonRepr(value: TemplateValue): string {
  switch (value.type) {
    case "StringValue":
      return quoted(String(value.value));
    case "IntegerValue":
      return BigInt(Number(value.value)).toString();
    case "FloatValue":
      return floatText(Number(value.value));
    case "BooleanValue":
      return value.value === true ? "True" : "False";
    case "NullValue":
      return "None";
    case "UndefinedValue":
      return "Undefined";
    case "ArrayValue":
      return `[${itemsOf(value).map(pythonRepr).join(", ")}]`;
    case "TupleValue": {
      const items = itemsOf(value).map(pythonRepr);
      return items.length === 1 ? `(${items[0]},)` : `(${items.join(", ")})`;
    }
    case "ObjectValue":
      return `{${entriesOf(value)
        .map(([key, item]) => `${quoted(key)}: ${pythonRepr(item)}`)
        .join(", ")}}`;
    default:
      throw new Error(`a ${value.type} cannot be printed`);
  }
}

/** `a == b`: numbers and booleans compare as numbers, lists and objects by content, other types are never equal. */
export function pythonEqual(a: TemplateValue, b: TemplateValue): boolean {
  if (isNumeric(a) && isNumeric(b)) return Number(a.value) === Number(b.value);
  if (a.type !== b.type) return false;
  if (Array.isArray(a.value)) {
    const [left, right] = [itemsOf(a), itemsOf(b)];
    return left.length === right.length && left.every((item, i) => pythonEqual(item, right[i]!));
  }
  if (a.value instanceof Map) {
    const [left, right] = [entriesOf(a), new Map(entriesOf(b))];
    return (
      left.length === right.size &&
      left.every(([key, item]) => {
        const other = right.get(key);
        return other !== undefined && pythonEqual(item, other);
      })
    );
  }
  return a.value === b.value;
}

export type StripSide = "both" | "left" | "right";

/** `str.strip(chars)` and its one-sided forms; without `chars`, Python's white space goes. */
export function pythonStrip(text: string, side: StripSide, chars?: string): string {
  const inside = chars === undefined ? PYTHON_SPACE : [...chars].map(classEscape).join("");
  if (inside === "") return text;
  let stripped = text;
  if (side !== "right") stripped = stripped.replace(new RegExp(`^[${inside}]+`, "u"), "");
  if (side !== "left") stripped = stripped.replace(new RegExp(`[${inside}]+$`, "u"), "");
  return stripped;
}

export interface PythonJsonOptions {
  readonly ensureAscii: boolean;
  readonly indent: string | undefined;
  readonly separators: readonly [item: string, key: string] | undefined;
  readonly sortKeys: boolean;
}

/** `json.dumps(value, …)`. */
export function pythonJson(value: TemplateValue, options: PythonJsonOptions, depth = 0): string {
  const { indent } = options;
  const [itemSeparator, keySeparator] = options.separators ?? [indent === undefined ? ", " : ",", ": "];
  const enclose = (open: string, items: readonly string[], close: string): string => {
    if (items.length === 0) return open + close;
    if (indent === undefined) return open + items.join(itemSeparator) + close;
    const line = `\n${indent.repeat(depth + 1)}`;
    return `${open}${line}${items.join(itemSeparator + line)}\n${indent.repeat(depth)}${close}`;
  };
  switch (value.type) {
    case "StringValue":
      return jsonText(String(value.value), options.ensureAscii);
    case "IntegerValue":
    case "FloatValue":
      return pythonRepr(value);
    case "BooleanValue":
      return value.value === true ? "true" : "false";
    case "NullValue":
      return "null";
    case "ArrayValue":
    case "TupleValue":
      return enclose(
        "[",
        itemsOf(value).map((item) => pythonJson(item, options, depth + 1)),
        "]",
      );
    case "ObjectValue": {
      const entries = entriesOf(value);
      if (options.sortKeys) entries.sort(([a], [b]) => compareCodePoints(a, b));
      const items = entries.map(
        ([key, item]) =>
          `${jsonText(key, options.ensureAscii)}${keySeparator}${pythonJson(item, options, depth + 1)}`,
      );
      return enclose("{", items, "}");
    }
    default:
      throw new Error(`a ${value.type} cannot be written as JSON`);
  }
}

/** `str.capitalize()`: the first character upper case, the rest lower case. */
export function pythonCapitalize(text: string): string {
  const [first = "", ...rest] = text;
  return first.toUpperCase() + rest.join("").toLowerCase();
}

export function itemsOf(value: TemplateValue): readonly TemplateValue[] {
  // The interpreter's lists and tuples hold its values.
  return value.value as readonly TemplateValue[];
}

export function entriesOf(value: TemplateValue): [string, TemplateValue][] {
  // The interpreter's objects are maps from strings to its values.
  return [...(value.value as ReadonlyMap<string, TemplateValue>)];
}

function isNumeric(value: TemplateValue): boolean {
  return value.type === "IntegerValue" || value.type === "FloatValue" || value.type === "BooleanValue";
}

/** `repr` of a float: the shortest digits that read back, with an exponent below 1e-4 and from 1e16 on. */
function floatText(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
  if (value === 0) return Object.is(value, -0) ? "-0.0" : "0.0";
  const [mantissa, exponentText] = value.toExponential().split("e") as [string, string];
  const exponent = Number(exponentText);
  if (exponent < -4 || exponent >= 16) {
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${String(Math.abs(exponent)).padStart(2, "0")}`;
  }
  const plain =
    exponent < 0
      ? value.toFixed(Math.max(0, mantissa.replace(/[-.]/g, "").length - 1 - exponent))
      : String(value);
  return plain.includes(".") ? plain : `${plain}.0`;
}

function quoted(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = quote;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    if (char === quote || char === "\\") out += `\\${char}`;
    else if (char === "\n") out += "\\n";
    else if (char === "\r") out += "\\r";
    else if (char === "\t") out += "\\t";
    else if (char === " " || !/[\p{C}\p{Z}]/u.test(char)) out += char;
    else if (code < 0x100) out += `\\x${code.toString(16).padStart(2, "0")}`;
    else if (code < 0x10000) out += `\\u${code.toString(16).padStart(4, "0")}`;
    else out += `\\U${code.toString(16).padStart(8, "0")}`;
  }
  return out + quote;
}

function jsonText(text: string, ensureAscii: boolean): string {
  const json = JSON.stringify(text);
  if (!ensureAscii) return json;
  return json.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function compareCodePoints(a: string, b: string): number {
  const [left, right] = [Array.from(a), Array.from(b)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const difference = left[i]!.codePointAt(0)! - right[i]!.codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

function classEscape(char: string): string {
  return /[\\\]^-]/.test(char) ? `\\${char}` : char;
}
