/** Partial credit by hand: what two queries name, and the F1 of it; with attempts to be paid for naming everything. */
import { describe, expect, it } from "vitest";
import type { DatabaseSchema } from "./data/index.js";
import { queryOverlap } from "./overlap.js";

const column = (name: string) => ({ name, type: "text" as const, isPrimaryKey: false });
/** `city` is a table and a column. */
const schema: DatabaseSchema = {
  database: "geo",
  tables: [
    { name: "city", columns: [column("name"), column("state name")] },
    { name: "person", columns: [column("name"), column("city")] },
  ],
  foreignKeys: [],
};
const gold = "SELECT name FROM person WHERE city = 'Rome'"; // select 1, where, person, name, city: 5 parts

describe("queryOverlap()", () => {
  it.each<[string, string, number]>([
    ["the same query", gold, 1],
    ["another case, alias and value", "select T1.NAME from Person as T1 where T1.City = 'x'", 1],
    ["a column too few and a clause", "SELECT name FROM person", (2 * 3) / (3 + 5)],
    // select 1, where, table city, name: the table is no column
    ["the table of the column's name", "SELECT name FROM city WHERE name = 'Rome'", (2 * 3) / (4 + 5)],
    ["syntax gone wrong", "SELECT name FROM person WHERE WHERE city =", 1],
    // and select 2, in
    ["a nested query", `SELECT name FROM person WHERE city IN (${gold})`, (2 * 5) / (7 + 5)],
    ["names in comments and texts", "SELECT 'name' /* person where city */ -- city", (2 * 1) / (1 + 5)],
    ["nothing that the schema has", "how many people?", 0],
    ["nothing", "", 0],
    ["an open quote", "SELECT name FROM person WHERE city = 'Rome", 1],
  ])("%s", (_, predicted, expected) => {
    expect(queryOverlap(predicted, gold, schema).score).toBeCloseTo(expected, 12);
  });

  it("pays less for naming everything than for a close miss", () => {
    const everything =
      'SELECT DISTINCT name, "state name", count(*), sum(1), max(1) FROM city JOIN person WHERE city OR 1 GROUP BY 1 HAVING 1 ORDER BY 1 DESC LIMIT 1 UNION SELECT 1';
    const closeMiss = "SELECT name FROM person WHERE name = 'Rome'";
    expect(queryOverlap(everything, gold, schema).score).toBeLessThan(
      queryOverlap(closeMiss, gold, schema).score - 0.3,
    );
  });

  it("says what is missing and what is too much", () => {
    expect(queryOverlap('SELECT "state name" FROM city', gold, schema)).toEqual({
      score: (2 * 1) / (3 + 5),
      missing: ["column:name", "table:person", "clause:where", "column:city"],
      extra: ["column:state name", "table:city"],
    });
  });
});
