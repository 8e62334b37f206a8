/**
 * JSON for file headers: like `JSON.parse`, but a key given twice is an error, objects become maps
 * (a tensor may be called `__proto__`), and every member knows its position. Knows nothing about tensors.
 */

export interface JsonMember {
  readonly value: JsonValue;
  /** Index of the key's opening quote in the text. */
  readonly position: number;
}

export type JsonObject = ReadonlyMap<string, JsonMember>;
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;

/** Text that is not JSON, or repeats a key; `position` is an index into the text. */
export class JsonError extends Error {
  override name = "JsonError";
  constructor(
    readonly position: number,
    /** What was found there. */
    readonly found: string,
    readonly expected: string,
  ) {
    super(`${found} at ${position}, expected ${expected}`);
  }
}

/** Deeper nesting than any header has; it bounds the recursion. */
const MAX_DEPTH = 32;

/** Parses the whole of `text`; throws `JsonError`. */
export function parseStrictJson(text: string): JsonValue {
  const reader = new Reader(text);
  const value = reader.value(0);
  reader.skipSpace();
  if (reader.at < text.length) throw reader.error("the end of the JSON text");
  return value;
}

export function isJsonObject(value: JsonValue): value is JsonObject {
  return value instanceof Map;
}

class Reader {
  at = 0;
  readonly #number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
  constructor(readonly text: string) {}

  error(expected: string, position = this.at): JsonError {
    const character = this.text.codePointAt(position);
    const found = character === undefined ? "the end" : JSON.stringify(String.fromCodePoint(character));
    return new JsonError(position, found, expected);
  }

  skipSpace(): void {
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.at++;
    }
  }

  value(depth: number): JsonValue {
    this.skipSpace();
    if (depth > MAX_DEPTH) throw new JsonError(this.at, `nesting deeper than ${MAX_DEPTH}`, "a flat header");
    const first = this.text[this.at];
    if (first === "{") return this.object(depth);
    if (first === "[") return this.array(depth);
    if (first === '"') return this.string();
    if (this.text.startsWith("true", this.at)) return this.literal(4, true);
    if (this.text.startsWith("false", this.at)) return this.literal(5, false);
    if (this.text.startsWith("null", this.at)) return this.literal(4, null);
    this.#number.lastIndex = this.at;
    const number = this.#number.exec(this.text);
    if (number === null) throw this.error("a JSON value");
    this.at += number[0].length;
    return Number(number[0]);
  }

  literal<T>(length: number, value: T): T {
    this.at += length;
    return value;
  }

  object(depth: number): JsonObject {
    const members = new Map<string, JsonMember>();
    this.at++;
    this.skipSpace();
    if (this.text[this.at] === "}") return this.literal(1, members);
    for (;;) {
      this.skipSpace();
      const position = this.at;
      if (this.text[position] !== '"') throw this.error("a key in quotes");
      const key = this.string();
      if (members.has(key)) {
        throw new JsonError(position, `a second key ${JSON.stringify(key)}`, "each key once");
      }
      this.skipSpace();
      if (this.text[this.at] !== ":") throw this.error('":"');
      this.at++;
      members.set(key, { value: this.value(depth + 1), position });
      this.skipSpace();
      if (this.text[this.at] === "}") return this.literal(1, members);
      if (this.text[this.at] !== ",") throw this.error('"," or "}"');
      this.at++;
    }
  }

  array(depth: number): readonly JsonValue[] {
    const items: JsonValue[] = [];
    this.at++;
    this.skipSpace();
    if (this.text[this.at] === "]") return this.literal(1, items);
    for (;;) {
      items.push(this.value(depth + 1));
      this.skipSpace();
      if (this.text[this.at] === "]") return this.literal(1, items);
      if (this.text[this.at] !== ",") throw this.error('"," or "]"');
      this.at++;
    }
  }

  string(): string {
    const start = this.at;
    this.at++;
    for (;;) {
      const code = this.text.charCodeAt(this.at);
      if (code === 0x22) break;
      // NaN, past the end, is not at least 0x20 either.
      if (!(code >= 0x20)) throw this.error("a closing quote");
      this.at += code === 0x5c ? 2 : 1;
    }
    this.at++;
    const literal = this.text.slice(start, this.at);
    if (!literal.includes("\\")) return literal.slice(1, -1);
    try {
      // The literal is a JSON string already, so this only undoes its escapes.
      return JSON.parse(literal) as string;
    } catch {
      throw this.error("a string with valid escapes", start);
    }
  }
}
