import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isOrdered, officialRewrites, withoutDistinct } from "./official-rewrites.js";
import { prepareWithQuotedStrings } from "./quoted-strings.js";
import { sqlTokens } from "./tokens.js";
import { decodeUtf8 } from "./utf8.js";

const kindsOf = (sql: string): string =>
  sqlTokens(sql)
    .map(({ kind, value }) => `${kind} ${value}`)
    .join(", ");

describe("sqlTokens()", () => {
  it.each([
    ["SELECT a.b", "word SELECT, word a, symbol ., word b"],
    ["'it''s' \"a\"\"b\" `c``d` [e]]", "string it's, quoted a\"b, quoted c`d, quoted e, broken ]"],
    ["1 2.5 .5e-3 0xFF 1e5", "number 1, number 2.5, number .5e-3, number 0xFF, number 1e5"],
    ["x'0aFF' X'zz'", "blob x'0aFF', word X, string zz"],
    ["a--b\n-c", "word a, symbol -, word c"],
    ["a/*b*/c/*d", "word a, word c"],
    ["a/**/b", "word a, word b"],
    ["a<>b||c!=d->>e", "word a, symbol <>, word b, symbol ||, word c, symbol !=, word d, symbol ->>, word e"],
    ["?1 :a @b $c", "parameter ?1, parameter :a, parameter @b, parameter $c"],
    ["'open", "broken 'open"],
    ["naïve_1$", "word naïve_1$"],
    ["\\", "broken \\"],
    // SQLite skips a vertical tab within white space, and takes none at its beginning.
    ["a \v(\vb", "word a, symbol (, broken \v, word b"],
    ["a\uFEFF \uFEFFb", "word a\uFEFF, word b"],
  ])("reads %s", (sql, expected) => {
    expect(kindsOf(sql)).toBe(expected);
  });

  it("tells where tokens are: nothing but white space and comments lies between them", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.constantFrom("a", "'", '"', "--", "/*", "*/", "\n", " ", "1", ".", ";", "(", "[", "]", "`"),
          {
            maxLength: 20,
          },
        ),
        (parts) => {
          const sql = parts.join("");
          let at = 0;
          for (const { start, end } of sqlTokens(sql)) {
            expect(sql.slice(at, start)).toMatch(/^(\s|--[^\n]*(\n|$)|\/\*[\s\S]*?(\*\/|$))*$/);
            expect(end).toBeGreaterThan(start);
            at = end;
          }
        },
      ),
      { seed: 20261121, numRuns: 1000 },
    );
  });
});

describe("prepareWithQuotedStrings()", () => {
  /** Complains, as SQLite does, of the first double-quoted name that is no column. */
  const prepareWith =
    (columns: readonly string[]) =>
    (sql: string): string => {
      for (const { kind, value, start } of sqlTokens(sql))
        if (kind === "quoted" && sql[start] === '"' && !columns.includes(value))
          throw new Error(`no such column: ${value}`);
      return sql;
    };
  const rewritten = (sql: string, columns: readonly string[]): string =>
    prepareWithQuotedStrings(sql, sqlTokens(sql), prepareWith(columns)).sql;

  it("makes strings of names that are no columns, and only of those", () => {
    expect(rewritten('SELECT "name" FROM t WHERE "name" = "Bo" OR x = "O\'Hara"', ["name"])).toBe(
      "SELECT \"name\" FROM t WHERE \"name\" = 'Bo' OR x = 'O''Hara'",
    );
  });

  it("leaves a qualified name to SQLite's complaint", () => {
    expect(() => rewritten('SELECT t."Bo" FROM t', [])).toThrow("no such column: Bo");
  });
});

describe("the rewrites of Spider's evaluation", () => {
  it("join operators and fix the current year", () => {
    expect(officialRewrites("a > = 1 and b < =2 and c ! = 3 and d > YEAR( curdate ( ) ) - 1")).toBe(
      "a >= 1 and b <=2 and c != 3 and d > 2020- 1",
    );
  });

  it("take out DISTINCT, but not from strings and names", () => {
    expect(
      withoutDistinct("SELECT DISTINCT a, count(distinct b), 'distinct', \"distinct\" FROM distinctly"),
    ).toBe("SELECT  a, count( b), 'distinct', \"distinct\" FROM distinctly");
  });

  it("heed order when the gold statement says ORDER BY anywhere", () => {
    expect(isOrdered("SELECT a FROM (SELECT a FROM t Order By a)")).toBe(true);
    expect(isOrdered("SELECT a FROM t GROUP BY a")).toBe(false);
  });
});

describe("decodeUtf8()", () => {
  it("reads UTF-8 as it is", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(decodeUtf8(new TextEncoder().encode(text))).toBe(text);
      }),
      { seed: 20261121 },
    );
  });

  // The right column is Python's bytes.decode(errors="ignore").
  it.each([
    ["41ff42", "AB"],
    ["c3a9c3", "é"],
    ["e28241", "A"],
    ["eda08041", "A"],
    ["c0af41", "A"],
    ["f09f98e282ac", "€"],
    ["f4908080", ""],
    ["efbbbf41", "\uFEFFA"],
  ])("leaves out what is not: %s", (hex, text) => {
    expect(decodeUtf8(Buffer.from(hex, "hex"))).toBe(text);
  });
});
