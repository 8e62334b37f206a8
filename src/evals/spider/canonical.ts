/**
 * What Spider's exact match looks past: values, DISTINCT, and which end of a foreign key a column is.
 * Foreign keys that share a column form a set; its columns are all written as the first of them.
 */
import type {
  ColumnUnit,
  Conditions,
  ConditionValue,
  DatabaseSchema,
  SpiderQuery,
  ValueUnit,
} from "../../envs/index.js";

/** `table.column` to the column that stands for its set, in lower case. */
export type KeyMap = ReadonlyMap<string, string>;

/** Sets are grown key by key, as the benchmark does: a key that joins two sets grows the first. */
export function foreignKeyMap(schema: DatabaseSchema): KeyMap {
  const order = schema.tables.flatMap((table) =>
    table.columns.map((column) => `${table.name}.${column.name}`.toLowerCase()),
  );
  const sets: Set<string>[] = [];
  for (const { table, column, toTable, toColumn } of schema.foreignKeys) {
    const [from, to] = [`${table}.${column}`.toLowerCase(), `${toTable}.${toColumn}`.toLowerCase()];
    let set = sets.find((one) => one.has(from) || one.has(to));
    if (set === undefined) sets.push((set = new Set()));
    set.add(from).add(to);
  }
  const map = new Map<string, string>();
  for (const set of sets) {
    const first = order.find((column) => set.has(column));
    if (first !== undefined) for (const column of set) map.set(column, first);
  }
  return map;
}

/** The query as exact match compares it. Nested queries in conditions keep their columns and DISTINCT, as officially. */
export function canonicalQuery(query: SpiderQuery, keys: KeyMap): SpiderQuery {
  const tables = new Set(query.from.tables.flatMap((unit) => (unit.kind === "table" ? [unit.table] : [])));
  const columnUnit = (unit: ColumnUnit): ColumnUnit => {
    const key = tables.has(unit.column.slice(0, unit.column.indexOf(".")))
      ? keys.get(unit.column)
      : undefined;
    return { ...unit, column: key ?? unit.column, isDistinct: null };
  };
  const valueUnit = (unit: ValueUnit): ValueUnit => ({
    ...unit,
    left: columnUnit(unit.left),
    right: unit.right === null ? null : columnUnit(unit.right),
  });
  const conditions = ({ units, joins }: Conditions): Conditions => ({
    units: units.map((unit) => ({ ...unit, unit: valueUnit(unit.unit) })),
    joins,
  });
  // The outermost FROM decides which columns are keys, in the queries behind set operators too.
  const rebuilt = (one: SpiderQuery): SpiderQuery => ({
    ...one,
    select: {
      isDistinct: null,
      items: one.select.items.map(({ aggregate, unit }) => ({ aggregate, unit: valueUnit(unit) })),
    },
    from: { ...one.from, conditions: conditions(one.from.conditions) },
    where: conditions(one.where),
    groupBy: one.groupBy.map(columnUnit),
    having: conditions(one.having),
    orderBy: one.orderBy === null ? null : { ...one.orderBy, units: one.orderBy.units.map(valueUnit) },
    intersect: one.intersect === null ? null : rebuilt(one.intersect),
    union: one.union === null ? null : rebuilt(one.union),
    except: one.except === null ? null : rebuilt(one.except),
  });
  return rebuilt(withoutValues(query));
}

function withoutValues(query: SpiderQuery): SpiderQuery {
  const side = (value: ConditionValue | null): ConditionValue | null =>
    value?.kind === "query" ? { kind: "query", query: withoutValues(value.query) } : null;
  const conditions = ({ units, joins }: Conditions): Conditions => ({
    units: units.map((unit) => ({ ...unit, value: side(unit.value), upper: side(unit.upper) })),
    joins,
  });
  return {
    ...query,
    from: { ...query.from, conditions: conditions(query.from.conditions) },
    where: conditions(query.where),
    having: conditions(query.having),
    intersect: query.intersect === null ? null : withoutValues(query.intersect),
    union: query.union === null ? null : withoutValues(query.union),
    except: query.except === null ? null : withoutValues(query.except),
  };
}
