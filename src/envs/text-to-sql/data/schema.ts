/** The shape of a database: tables, columns with types, keys. Read from Spider's `tables.json` or from the SQLite file. */
import { z } from "zod";
import { messageOf, UserError } from "../../../base/index.js";
import { openToRead } from "./open-to-read.js";

/** Spider's five column types. */
export type ColumnType = "text" | "number" | "time" | "boolean" | "others";

export interface SchemaColumn {
  /** As the database spells it. */
  readonly name: string;
  readonly type: ColumnType;
  readonly isPrimaryKey: boolean;
  /** Words for it, such as "first name" of `fname`, where the data names them. */
  readonly phrase?: string;
}

export interface SchemaTable {
  readonly name: string;
  readonly columns: readonly SchemaColumn[];
  readonly phrase?: string;
}

/** `table.column` refers to `toTable.toColumn`. */
export interface ForeignKey {
  readonly table: string;
  readonly column: string;
  readonly toTable: string;
  readonly toColumn: string;
}

export interface DatabaseSchema {
  readonly database: string;
  readonly tables: readonly SchemaTable[];
  readonly foreignKeys: readonly ForeignKey[];
}

const columnNames = z.array(z.tuple([z.int(), z.string()]));
const keyIndex = z.int().nonnegative();

/** One entry of Spider's `tables.json`. Column 0 is `*` and belongs to no table. */
export const tablesJsonEntry = z.object({
  db_id: z.string().min(1),
  table_names_original: z.array(z.string()),
  table_names: z.array(z.string()).optional(),
  column_names_original: columnNames,
  column_names: columnNames.optional(),
  column_types: z.array(z.string()),
  // Newer releases list composite keys as lists.
  primary_keys: z.array(z.union([keyIndex, z.array(keyIndex)])),
  foreign_keys: z.array(z.tuple([keyIndex, keyIndex])),
});

export type TablesJsonEntry = z.infer<typeof tablesJsonEntry>;

const COLUMN_TYPES: readonly string[] = ["text", "number", "time", "boolean", "others"];
const isColumnType = (type: string): type is ColumnType => COLUMN_TYPES.includes(type);

/** The schema that an entry of `tables.json` describes; `where` names the entry in errors. */
export function schemaOfEntry(entry: TablesJsonEntry, where: string): DatabaseSchema {
  const primary = new Set(entry.primary_keys.flat());
  const refuse = (problem: string): never => {
    throw new UserError(`Cannot read ${where}: database "${entry.db_id}" ${problem}`);
  };
  const tables = entry.table_names_original.map((name, table) => ({
    name,
    ...(entry.table_names?.[table] === undefined ? {} : { phrase: entry.table_names[table] }),
    columns: entry.column_names_original.flatMap(([owner, column], index) => {
      if (owner !== table) return [];
      const type = entry.column_types[index] ?? refuse(`has no type for column ${index} ("${column}")`);
      const phrase = entry.column_names?.[index]?.[1];
      return [
        {
          name: column,
          type: isColumnType(type) ? type : ("others" as const),
          isPrimaryKey: primary.has(index),
          ...(phrase === undefined ? {} : { phrase }),
        },
      ];
    }),
  }));
  const place = (index: number): { table: string; column: string } => {
    const [owner, column] = entry.column_names_original[index] ?? refuse(`names column ${index} in a key`);
    const table = entry.table_names_original[owner];
    return table === undefined
      ? refuse(`puts a key on column ${index}, which has no table`)
      : { table, column };
  };
  const foreignKeys = entry.foreign_keys.map(([from, to]) => {
    const target = place(to);
    return { ...place(from), toTable: target.table, toColumn: target.column };
  });
  return { database: entry.db_id, tables, foreignKeys };
}

/** The entry of `tables.json` that describes `schema`; the inverse of `schemaOfEntry`. */
export function entryOfSchema(schema: DatabaseSchema): TablesJsonEntry {
  const columns = schema.tables.flatMap((table, at) =>
    table.columns.map((column) => ({ table, at, column })),
  );
  const indexOf = (table: string, name: string): number =>
    1 + columns.findIndex((one) => one.table.name === table && one.column.name === name);
  return {
    db_id: schema.database,
    table_names_original: schema.tables.map(({ name }) => name),
    table_names: schema.tables.map(({ name, phrase }) => phrase ?? name.replaceAll("_", " ")),
    column_names_original: [
      [-1, "*"],
      ...columns.map(({ at, column }): [number, string] => [at, column.name]),
    ],
    column_names: [
      [-1, "*"],
      ...columns.map(({ at, column }): [number, string] => [
        at,
        column.phrase ?? column.name.replaceAll("_", " "),
      ]),
    ],
    column_types: ["text", ...columns.map(({ column }) => column.type)],
    primary_keys: columns.flatMap(({ column }, i) => (column.isPrimaryKey ? [i + 1] : [])),
    foreign_keys: schema.foreignKeys.map(({ table, column, toTable, toColumn }): [number, number] => [
      indexOf(table, column),
      indexOf(toTable, toColumn),
    ]),
  };
}

const tableRow = z.object({ name: z.string() });
const columnRow = z.object({ name: z.string(), type: z.string(), pk: z.number() });
const keyRow = z.object({ table: z.string(), from: z.string(), to: z.string().nullable() });

/**
 * The schema that a SQLite file declares.
 *
 * @throws UserError when the file is absent or not a SQLite database
 */
export function readSqliteSchema(path: string, database: string): DatabaseSchema {
  const file = openToRead(path, database);
  try {
    const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;
    const names = z
      .array(tableRow)
      .parse(
        file
          .prepare(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
          )
          .all(),
      )
      .map(({ name }) => name);
    const tables = names.map((name) => ({
      name,
      columns: z
        .array(columnRow)
        .parse(file.prepare(`PRAGMA table_info(${quoted(name)})`).all())
        .map((column) => ({
          name: column.name,
          type: typeOfDeclaration(column.type),
          isPrimaryKey: column.pk > 0,
        })),
    }));
    const primaryOf = (table: string): string | undefined =>
      tables
        .find(({ name }) => name.toLowerCase() === table.toLowerCase())
        ?.columns.find(({ isPrimaryKey }) => isPrimaryKey)?.name;
    const foreignKeys = names.flatMap((name) =>
      z
        .array(keyRow)
        .parse(file.prepare(`PRAGMA foreign_key_list(${quoted(name)})`).all())
        .flatMap(({ table, from, to }) => {
          const toColumn = to ?? primaryOf(table);
          return toColumn === undefined ? [] : [{ table: name, column: from, toTable: table, toColumn }];
        }),
    );
    return { database, tables, foreignKeys };
  } catch (thrown) {
    throw new UserError(
      `Cannot read schema of database "${database}": ${path} is not a usable SQLite database (${messageOf(thrown)})`,
      { cause: thrown },
    );
  } finally {
    file.close();
  }
}

/** SQLite's affinity rules, told apart as Spider does. */
function typeOfDeclaration(declared: string): ColumnType {
  const type = declared.toLowerCase();
  if (/bool|^bit/.test(type)) return "boolean";
  if (/date|time|year/.test(type)) return "time";
  if (/int|real|floa|doub|num|dec/.test(type)) return "number";
  return /char|clob|text|^$/.test(type) ? "text" : "others";
}
