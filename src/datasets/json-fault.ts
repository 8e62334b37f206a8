/**
 * Where and why a text is not JSON. `JSON.parse` only says so in words that change with the Node version, so this
 * scanner runs after it has refused a text. Knows nothing about files.
 */

/** The first place where `text` stops being JSON. `offset` counts UTF-16 units; the text's length means its end. */
export interface JsonFault {
  readonly offset: number;
  readonly found: string;
  readonly expected: string;
}

/** The first fault of `text`, or undefined if it is JSON. Nesting costs no stack. */
export function findJsonFault(text: string): JsonFault | undefined {
  const scanner = new Scanner(text);
  try {
    scanner.document();
    return undefined;
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown.fault;
    throw thrown;
  }
}

class Fault extends Error {
  constructor(readonly fault: JsonFault) {
    super("internal: fault of a JSON text");
  }
}

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const ESCAPE = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
const WORD = /[A-Za-z_]\w*/y;
const LITERALS = ["true", "false", "null"];

/** One pass over a text; `#at` is the next unit to read. */
class Scanner {
  #at = 0;
  constructor(readonly text: string) {}

  document(): void {
    const open: ("{" | "[")[] = [];
    this.#space();
    for (;;) {
      const unit = this.text[this.#at];
      if (unit === "{" || unit === "[") {
        this.#at++;
        open.push(unit);
        this.#space();
        if (this.text[this.#at] !== (unit === "{" ? "}" : "]")) {
          if (unit === "{") this.#key("a key in double quotes or }");
          continue;
        }
      } else {
        this.#scalar();
        this.#space();
      }
      if (!this.#closed(open)) return;
    }
  }

  /** After a value: closes what closes here. False at the end of the document, true where a value must follow. */
  #closed(open: ("{" | "[")[]): boolean {
    for (;;) {
      this.#space();
      const inner = open.at(-1);
      const unit = this.text[this.#at];
      if (inner === undefined) {
        if (unit !== undefined) this.#fail("the end of the line");
        return false;
      }
      const close = inner === "{" ? "}" : "]";
      if (unit === close) {
        this.#at++;
        open.pop();
      } else if (unit === ",") {
        this.#at++;
        this.#space();
        if (inner === "{") this.#key("a key in double quotes");
        return true;
      } else this.#fail(`, or ${close}`);
    }
  }

  #key(expected: string): void {
    if (this.text[this.#at] !== '"') this.#fail(expected);
    this.#string();
    this.#space();
    if (this.text[this.#at] !== ":") this.#fail(":");
    this.#at++;
    this.#space();
  }

  #scalar(): void {
    if (this.text[this.#at] === '"') {
      this.#string();
      return;
    }
    const word = this.#match(WORD);
    if (word !== undefined) {
      if (!LITERALS.includes(word)) this.#fail("a JSON value");
      this.#at += word.length;
      return;
    }
    const digits = this.#match(NUMBER);
    if (digits === undefined) this.#fail("a JSON value");
    else this.#at += digits.length;
  }

  #string(): void {
    const start = this.#at;
    this.#at++;
    for (;;) {
      const unit = this.text[this.#at];
      if (unit === '"') break;
      if (unit === undefined) {
        throw new Fault({
          offset: start,
          found: 'a string that never ends (its closing " is missing)',
          expected: 'a closing "',
        });
      }
      if (unit === "\\") {
        const sequence = this.#match(ESCAPE);
        if (sequence === undefined) this.#fail('an escape such as \\n, \\" or \\u00e9');
        else this.#at += sequence.length;
      } else if (unit < " ") this.#fail("this control character written as an escape");
      else this.#at++;
    }
    this.#at++;
  }

  #space(): void {
    while (this.#at < this.text.length && " \t\n\r".includes(this.text[this.#at]!)) this.#at++;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.text)?.[0];
  }

  #fail(expected: string): never {
    throw new Fault({ offset: this.#at, found: this.#found(), expected });
  }

  #found(): string {
    const unit = this.text[this.#at];
    if (unit === undefined) return "the end of the line";
    if (unit < " ") return `control character U+${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
    if (unit === "\\") return JSON.stringify(this.text.slice(this.#at, this.#at + 2)).replace("\\\\", "\\");
    return JSON.stringify(this.#match(WORD) ?? String.fromCodePoint(this.text.codePointAt(this.#at)!));
  }
}
