import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Sqlite from "libsql";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normaliseSql } from "./normalise.js";
import { readSqliteSchema } from "./schema.js";
import { createValueLinker, fillSlots, insertSlots, slotCoverage, type ValueLinker } from "./slots.js";
import { loadSpider, type SqlDatabase } from "./spider.js";
import { NO_SPIDER, SPIDER_FOLDER } from "./spider-folder.test-data.js";

const folder = mkdtempSync(join(tmpdir(), "hone-slots-"));
let linker: ValueLinker;
beforeAll(() => {
  const path = join(folder, "shop.sqlite");
  const file = new Sqlite(path);
  file.exec(
    "CREATE TABLE sale (id INTEGER, city TEXT, kind TEXT, code TEXT); INSERT INTO sale VALUES (1, 'New York', 'Bread', '12'), (2, 'York', 'bread', 'x'), (3, 'PARIS', 'Bread', 'the')",
  );
  file.close();
  const shop: SqlDatabase = { name: "shop", path, schema: readSqliteSchema(path, "shop") };
  linker = createValueLinker(new Map([["shop", shop]]));
});
afterAll(() => rmSync(folder, { recursive: true }));

it("createValueLinker() takes the longest cell, the spelling of most cells, and leaves common words alone", () => {
  expect(linker.link("How much BREAD did the shop in New York sell?", "shop")).toEqual({
    question: "How much value_0 did the shop in value_1 sell?",
    slots: [
      { name: "value_0", kind: "text", value: "Bread", columns: ["sale.kind"] },
      { name: "value_1", kind: "text", value: "New York", columns: ["sale.city"] },
    ],
  });
});

it("createValueLinker() finds numbers, number words and quoted text, a repeated value once", () => {
  expect(linker.link("Top three of 1,200.50 and 'Zürich' or \"7\"; 3 again, one more", "shop")).toEqual({
    question: "Top value_0 of value_1 and value_2 or value_3; value_0 again, one more",
    slots: [
      { name: "value_0", kind: "number", value: "3", columns: [] },
      { name: "value_1", kind: "number", value: "1200.50", columns: [] },
      { name: "value_2", kind: "text", value: "Zürich", columns: [] },
      { name: "value_3", kind: "number", value: "7", columns: [] },
    ],
  });
});

it("insertSlots() replaces what slots stand for, and fillSlots() puts it back", () => {
  const { slots } = linker.link("BREAD of 12 in Paris", "shop");
  const sql =
    "select city from sale where kind = 'Bread' and code = '12' and id > 12 and city like '%paris%' limit 1";
  const slotted = insertSlots(sql, slots);
  expect(slotted).toBe(
    "select city from sale where kind = value_0 and code = 'value_1' and id > value_1 and city like '%value_2%' limit 1",
  );
  expect(fillSlots(slotted, slots)).toBe(sql.replace("%paris%", "%PARIS%"));
  expect(slotCoverage(sql, slots)).toEqual({ literals: 5, linked: 4 });
});

it("insertSlots() keeps a text that differs from the slot in case, which means another thing to =", () => {
  const { slots } = linker.link("BREAD", "shop");
  expect(insertSlots("select id from sale where kind = 'bread'", slots)).toBe(
    "select id from sale where kind = 'bread'",
  );
});

it("fillSlots() leaves a slot that the question has not", () => {
  expect(fillSlots("select id from sale where id = value_9", [])).toBe(
    "select id from sale where id = value_9",
  );
  expect(fillSlots("select 'open", [])).toBe("select 'open");
});

describe.skipIf(SPIDER_FOLDER === undefined)(`on Spider${NO_SPIDER}`, () => {
  it("slots stand for most of the values of gold queries, and give them back", { timeout: 120_000 }, () => {
    const { train, dev, databases } = loadSpider(SPIDER_FOLDER!);
    const spider = createValueLinker(databases);
    const totals = { literals: 0, linked: 0, changed: 0 };
    for (const { question, sql, database } of [...train, ...dev]) {
      const { slots } = spider.link(question, database);
      const normal = normaliseSql(sql, databases.get(database)!.schema);
      // LIMIT 1 is no value of the question.
      const { literals, linked } = slotCoverage(normal.replace(/ limit 1$/, ""), slots);
      totals.literals += literals;
      totals.linked += linked;
      const back = fillSlots(insertSlots(normal, slots), slots);
      if (back !== normal) {
        totals.changed++;
        expect(back.toLowerCase()).toBe(normal.toLowerCase());
        expect(normal).toContain(" like ");
      }
    }
    console.info(
      `slots: ${totals.linked} of ${totals.literals} literals, ${totals.changed} with another case in LIKE`,
    );
    expect(totals.linked / totals.literals).toBeGreaterThan(0.75);
  });
});
