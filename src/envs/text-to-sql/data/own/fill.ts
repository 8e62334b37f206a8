/** Rows for made databases, drawn from a seed, and the SQLite files that hold them. */
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import Sqlite from "libsql";
import type { Random } from "../../../../base/index.js";
import type { DatabaseSchema, SchemaColumn, SchemaTable } from "../schema.js";
import type { Domain, DomainColumn, DomainTable } from "./domain.js";

type Cell = string | number;

/** The schema of a made database. Every table has a number `id` as its key. */
export function schemaOfDomain({ name, table, parent }: Domain): DatabaseSchema {
  const id: SchemaColumn = { name: "id", type: "number", isPrimaryKey: true };
  const plain = (column: DomainColumn): SchemaColumn => ({
    name: column.name,
    type: column.kind === "number" ? "number" : "text",
    isPrimaryKey: false,
  });
  const tableOf = (
    { name: own, columns }: DomainTable,
    extra: readonly SchemaColumn[] = [],
  ): SchemaTable => ({
    name: own,
    columns: [id, ...columns.map(plain), ...extra],
  });
  if (parent === undefined) return { database: name, tables: [tableOf(table)], foreignKeys: [] };
  const key: SchemaColumn = { name: parent.key, type: "number", isPrimaryKey: false };
  return {
    database: name,
    tables: [tableOf(table, [key]), tableOf(parent.table)],
    foreignKeys: [{ table: table.name, column: parent.key, toTable: parent.table.name, toColumn: "id" }],
  };
}

/** Writes `path` anew: the domain's tables with rows drawn from `random`. */
export function writeDomain(path: string, domain: Domain, random: Random): void {
  mkdirSync(dirname(path), { recursive: true });
  if (existsSync(path)) rmSync(path);
  const file = new Sqlite(path);
  try {
    for (const statement of createStatements(domain)) file.exec(statement);
    const { table, parent } = domain;
    file.exec("BEGIN");
    if (parent !== undefined) insert(file, parent.table.name, rowsOf(parent.table, random.fork("parent")));
    const draw = random.fork("keys");
    const rows = rowsOf(table, random.fork("rows"));
    insert(
      file,
      table.name,
      parent === undefined ? rows : rows.map((row) => [...row, 1 + draw.integer(parent.table.rows)]),
    );
    file.exec("COMMIT");
  } finally {
    file.close();
  }
}

function createStatements(domain: Domain): string[] {
  const schema = schemaOfDomain(domain);
  // The parent must exist before what refers to it.
  return schema.tables.toReversed().map(({ name, columns }) => {
    const parts = columns.map(
      (column) =>
        `${column.name} ${column.type === "number" ? "INTEGER" : "TEXT"}${column.isPrimaryKey ? " PRIMARY KEY" : ""}`,
    );
    const keys = schema.foreignKeys
      .filter(({ table }) => table === name)
      .map((key) => `FOREIGN KEY (${key.column}) REFERENCES ${key.toTable}(${key.toColumn})`);
    return `CREATE TABLE ${name} (${[...parts, ...keys].join(", ")})`;
  });
}

function rowsOf({ columns, rows }: DomainTable, random: Random): Cell[][] {
  const cells = columns.map((column) => cellsOf(column, rows, random.fork(column.name)));
  return Array.from({ length: rows }, (_, row) => [row + 1, ...cells.map((column) => column[row]!)]);
}

/** Names and numbers do not repeat while there are enough of them, so that an order is rarely tied. */
function cellsOf(column: DomainColumn, rows: number, random: Random): Cell[] {
  if (column.kind === "category") {
    const { values } = column;
    // Skewed, so that groups differ in size: the smaller of two draws.
    const order = random.shuffled(values);
    return Array.from(
      { length: rows },
      () => order[Math.min(random.integer(values.length), random.integer(values.length))]!,
    );
  }
  const pool: readonly Cell[] =
    column.kind === "name"
      ? column.values
      : Array.from(
          { length: Math.floor((column.high - column.low) / column.step) + 1 },
          (_, i) => column.low + i * column.step,
        );
  const order = random.shuffled(pool);
  return Array.from({ length: rows }, (_, row) => order[row % order.length]!);
}

function insert(file: Sqlite.Database, table: string, rows: readonly (readonly Cell[])[]): void {
  const places = rows[0]!.map(() => "?").join(", ");
  const statement = file.prepare(`INSERT INTO ${table} VALUES (${places})`);
  for (const row of rows) statement.run(...row);
}
