import { describe, expect, it } from "vitest";
import { type DatabaseSchema, parseSpiderQuery } from "../../envs/index.js";
import { canonicalQuery, foreignKeyMap } from "../spider/canonical.js";
import { COMPONENTS, exactMatch } from "./spider-exact-match.js";

const columns = (...names: string[]) =>
  names.map((name) => ({ name, type: "text" as const, isPrimaryKey: name === "id" }));
const SCHEMA: DatabaseSchema = {
  database: "shop",
  tables: [
    { name: "customer", columns: columns("id", "name", "city") },
    { name: "orders", columns: columns("id", "customer_id", "total") },
    { name: "payment", columns: columns("id", "payer_id", "amount") },
  ],
  foreignKeys: [
    { table: "orders", column: "customer_id", toTable: "customer", toColumn: "id" },
    { table: "payment", column: "payer_id", toTable: "customer", toColumn: "id" },
  ],
};
const keys = foreignKeyMap(SCHEMA);
const match = (predicted: string, gold: string) =>
  exactMatch(
    canonicalQuery(parseSpiderQuery(predicted, SCHEMA), keys),
    canonicalQuery(parseSpiderQuery(gold, SCHEMA), keys),
  );
/** The components that differ. */
const wrong = (predicted: string, gold: string): string[] => {
  const { isMatch, components } = match(predicted, gold);
  const differing = COMPONENTS.filter((component) => components[component].score === 0);
  return isMatch || differing.length > 0 ? differing : ["from"];
};

it("foreignKeyMap() writes every column of a set as the set's first", () => {
  expect(Object.fromEntries(keys)).toEqual({
    "customer.id": "customer.id",
    "orders.customer_id": "customer.id",
    "payment.payer_id": "customer.id",
  });
});

it.each([
  // Sets: the order of columns and of conditions, and values, do not count.
  ["select name, city from customer", "select city, name from customer"],
  ["select id from orders where total > 3 and id = 1", "select id from orders where id = 2 and total > 9"],
  ["select id from orders limit 3", "select id from orders limit 5"],
  // DISTINCT does not count outside nested queries.
  ["select count(distinct city) from customer", "select count(city) from customer"],
  // The two ends of a foreign key are one column, in a query whose FROM has its table.
  [
    "select customer.id from customer join orders on customer.id = orders.customer_id",
    "select orders.customer_id from customer join orders on customer.id = orders.customer_id",
  ],
  // What joins the tables does not count, nor their order.
  [
    "select name from customer join orders on customer.id = orders.customer_id",
    "select name from orders join customer on orders.id = customer.id",
  ],
  ["select city from customer group by customer.city", "select city from customer group by city"],
])("exactMatch() takes %s for %s", (predicted, gold) => {
  expect(wrong(predicted, gold)).toEqual([]);
  expect(wrong(gold, predicted)).toEqual([]);
});

it.each([
  ["select name from customer", "select city from customer", ["select", "select(no AGG)"]],
  ["select max(total) from orders", "select min(total) from orders", ["select"]],
  ["select id, id from orders", "select id, total from orders", ["select", "select(no AGG)"]],
  ["select id from orders where total > 1", "select id from orders where total >= 1", ["where"]],
  [
    "select id from orders where total > 1 or id = 1",
    "select id from orders where total > 1 and id = 1",
    ["and/or", "keywords"],
  ],
  ["select id from orders where total > 1", "select id from orders", ["where", "where(no OP)", "keywords"]],
  // The same name in another table: only GROUP BY with its table differs.
  [
    "select count(*) from customer join orders on customer.id = orders.id group by customer.id",
    "select count(*) from customer join orders on customer.id = orders.id group by orders.id",
    ["group"],
  ],
  [
    "select city from customer group by city having count(*) > 1",
    "select city from customer group by city having count(*) < 1",
    ["group"],
  ],
  [
    "select id from orders order by total desc",
    "select id from orders order by total",
    ["order", "keywords"],
  ],
  // With LIMIT against without.
  [
    "select id from orders order by total limit 1",
    "select id from orders order by total",
    ["order", "keywords"],
  ],
  [
    "select id from orders union select id from customer",
    "select id from orders except select id from customer",
    ["IUEN", "keywords"],
  ],
  [
    "select id from orders union select name from customer",
    "select id from orders union select id from customer",
    ["IUEN"],
  ],
  // A nested query must be the same in all but values: here DISTINCT counts, as in the benchmark's script.
  [
    "select id from orders where total in (select distinct id from payment where amount > 1)",
    "select id from orders where total in (select id from payment where amount > 2)",
    ["where"],
  ],
  ["select count(*) from orders", "select count(*) from customer", ["from"]],
])("exactMatch() tells %s from %s", (predicted, gold, differing) => {
  expect(wrong(predicted, gold)).toEqual(differing);
  expect(match(predicted, gold).isMatch).toBe(false);
});

describe("exactMatch()'s totals", () => {
  it("count units, one for GROUP BY and ORDER BY, and one for equal joins of conditions", () => {
    const { components } = match(
      "select id, total from orders where total > 1 group by id, total order by id, total",
      "select id from orders",
    );
    expect(COMPONENTS.map((name) => [components[name].predicted, components[name].gold])).toEqual([
      [2, 1],
      [2, 1],
      [1, 0],
      [1, 0],
      [2, 0],
      [1, 0],
      [1, 0],
      [1, 1],
      [0, 0],
      [4, 0],
    ]);
  });
});
