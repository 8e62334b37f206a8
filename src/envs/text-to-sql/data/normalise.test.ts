import type Sqlite from "libsql";
import { describe, expect, it } from "vitest";
import { prepareWithQuotedStrings } from "../sql/quoted-strings.js";
import { sqlTokens } from "../sql/tokens.js";
import { normaliseSql } from "./normalise.js";
import { openToRead } from "./open-to-read.js";
import type { DatabaseSchema } from "./schema.js";
import { loadSpider } from "./spider.js";
import { NO_SPIDER, SPIDER_FOLDER } from "./spider-folder.test-data.js";
import { formatCompletion, formatPrompt, questionWords, readCompletion } from "./text-form.js";

const column = (name: string) => ({ name, type: "text" as const, isPrimaryKey: false });
const SCHEMA: DatabaseSchema = {
  database: "pets_1",
  tables: [
    { name: "Owner", columns: [column("id"), column("first_name"), column("city")] },
    { name: "Pet", columns: [column("id"), column("owner"), column("weight"), column("Home Town")] },
  ],
  foreignKeys: [],
};

it.each([
  ["SELECT  T1.Id FROM Pet AS T1;", "select pet.id from pet"],
  [
    "SELECT p.id, o.City FROM Pet p JOIN Owner o ON p.owner=o.id",
    "select pet.id, owner.city from pet join owner on pet.owner = owner.id",
  ],
  // A double-quoted word is a text, unless a column in reach has that name.
  ['SELECT id FROM Owner WHERE city = "Paris"', "select id from owner where city = 'Paris'"],
  [
    'SELECT "ID" FROM Owner WHERE first_name = "O\'Neil"',
    "select id from owner where first_name = 'O''Neil'",
  ],
  ["SELECT `Home Town` FROM Pet WHERE [weight] <> -2", 'select "home town" from pet where weight != -2'],
  // The same table twice: without its aliases the query would mean something else.
  [
    "SELECT A.id FROM Pet AS A JOIN Pet AS B ON A.owner = B.id",
    "select a.id from pet as a join pet as b on a.owner = b.id",
  ],
  // The inner scope has the outer table too, so the outer alias stays and the inner one goes.
  [
    "SELECT T1.id FROM Pet AS T1 WHERE T1.weight > (SELECT avg(T2.weight) FROM Pet AS T2 WHERE T2.owner = T1.owner)",
    "select t1.id from pet as t1 where t1.weight > (select avg(pet.weight) from pet where pet.owner = t1.owner)",
  ],
  // Aliases of one name in two scopes mean two tables.
  [
    "SELECT T1.id FROM Pet AS T1 UNION SELECT T1.id FROM Owner AS T1 ORDER BY 1",
    "select pet.id from pet union select owner.id from owner order by 1",
  ],
  [
    "SELECT count(*) FROM (SELECT T1.id FROM Pet AS T1) AS T2",
    "select count(*) from (select pet.id from pet) as t2",
  ],
  [
    "SELECT count( * ) AS N FROM Pet GROUP BY owner ORDER BY N",
    "select count(*) as n from pet group by owner order by n",
  ],
])("normaliseSql() writes %s in one spelling", (sql, expected) => {
  expect(normaliseSql(sql, SCHEMA)).toBe(expected);
  expect(normaliseSql(expected, SCHEMA)).toBe(expected);
});

it("formatCompletion() makes words, and readCompletion() undoes it", () => {
  const sql = "select t.first_name, _odd, a__b, -2.5 from t where x.y_z_1 = 'a _ b . c''s' and q > value_0";
  const words = formatCompletion(sql);
  expect(words).toBe(
    " select t . first _ name , _odd , a__b , - 2.5 from t where x . y _ z _ 1 = ' a _ b . c''s ' and q > value_0",
  );
  expect(readCompletion(words)).toBe(sql);
  expect(readCompletion(" select 'as a model may write'")).toBe("select 'as a model may write'");
  for (const odd of ["select ''", "select ' '", "select ' a'", "select ' a '"]) {
    expect(readCompletion(formatCompletion(odd))).toBe(odd);
  }
});

it("readCompletion() gives back text that is no SQL", () => {
  expect(readCompletion(" select 'never closed ")).toBe("select 'never closed");
});

it("formatPrompt() splits names and signs into words, with the schema where given", () => {
  const prompt = { database: "pets_1", question: 'Which owners\' city is "Paris", value_0?' };
  expect(formatPrompt(prompt)).toBe('db : pets 1 | which owners \' city is " paris " , value_0 ? =>');
  expect(formatPrompt({ ...prompt, schema: SCHEMA })).toBe(
    'db : pets 1 | owner : id text , first name text , city text | pet : id text , owner text , weight text , home town text | which owners \' city is " paris " , value_0 ? =>',
  );
  expect(questionWords("café 3.5km")).toBe("café 3 . 5 km");
});

describe.skipIf(SPIDER_FOLDER === undefined)(`on all of Spider${NO_SPIDER}`, () => {
  it("normalised gold gives the result of the original, and comes back from words", {
    timeout: 120_000,
  }, () => {
    const { train, dev, databases } = loadSpider(SPIDER_FOLDER!);
    const files = new Map<string, Sqlite.Database>();
    const wrong: string[] = [];
    const done = new Set<string>();
    const rows = (database: string, sql: string): string => {
      const file = files.get(database) ?? openToRead(databases.get(database)!.path, database);
      files.set(database, file);
      // The original relies on SQLite's reading of double quotes, which libsql has left out.
      const { statement } = prepareWithQuotedStrings(sql, sqlTokens(sql), (text) => file.prepare(text));
      return JSON.stringify(statement.raw().all());
    };
    for (const { database, sql } of [...train, ...dev]) {
      if (done.has(database + sql)) continue;
      done.add(database + sql);
      const original = rows(database, sql);
      const normal = normaliseSql(sql, databases.get(database)!.schema);
      const file = files.get(database);
      const result = file === undefined ? "" : JSON.stringify(file.prepare(normal).raw().all());
      if (result !== original) wrong.push(`${database}: ${sql}\n${normal}`);
      if (readCompletion(formatCompletion(normal)) !== normal) wrong.push(`words: ${normal}`);
    }
    for (const file of files.values()) file.close();
    expect(wrong).toEqual([]);
    expect(done.size).toBeGreaterThan(4200);
  });
});
