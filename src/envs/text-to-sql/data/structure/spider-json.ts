/** The structure in the form of the `sql` field of Spider's files: lists and ids instead of names. */
import type { DatabaseSchema } from "../schema.js";
import {
  AGGREGATES,
  CONDITION_OPERATORS,
  type ColumnUnit,
  type Conditions,
  type ConditionValue,
  type SpiderQuery,
  UNIT_OPERATORS,
  type ValueUnit,
} from "./query.js";

/** Columns count from 1 over all tables of `schema` in order, `*` is 0; tables count from 0. */
export function toSpiderJson(query: SpiderQuery, schema: DatabaseSchema): unknown {
  const columns = schema.tables.flatMap((table) =>
    table.columns.map((column) => `${table.name}.${column.name}`.toLowerCase()),
  );
  const tables = schema.tables.map(({ name }) => name.toLowerCase());
  const columnUnit = (unit: ColumnUnit): unknown => [
    AGGREGATES.indexOf(unit.aggregate),
    unit.column === "*" ? 0 : columns.indexOf(unit.column) + 1,
    unit.isDistinct,
  ];
  const valueUnit = ({ operator, left, right }: ValueUnit): unknown => [
    UNIT_OPERATORS.indexOf(operator),
    columnUnit(left),
    right === null ? null : columnUnit(right),
  ];
  const value = (one: ConditionValue | null): unknown => {
    if (one === null) return null;
    switch (one.kind) {
      case "query":
        return whole(one.query);
      case "column":
        return columnUnit(one.unit);
      case "text":
        return `"${one.value}"`;
      case "number":
        return one.value;
    }
  };
  const conditions = ({ units, joins }: Conditions): unknown[] =>
    units.flatMap((unit, i) => [
      ...(i === 0 ? [] : [joins[i - 1]]),
      [
        unit.isNegated,
        CONDITION_OPERATORS.indexOf(unit.operator),
        valueUnit(unit.unit),
        value(unit.value),
        value(unit.upper),
      ],
    ]);
  const whole = (one: SpiderQuery): unknown => ({
    select: [
      one.select.isDistinct,
      one.select.items.map(({ aggregate, unit }) => [AGGREGATES.indexOf(aggregate), valueUnit(unit)]),
    ],
    from: {
      table_units: one.from.tables.map((table) =>
        table.kind === "table" ? ["table_unit", tables.indexOf(table.table)] : ["sql", whole(table.query)],
      ),
      conds: conditions(one.from.conditions),
    },
    where: conditions(one.where),
    groupBy: one.groupBy.map(columnUnit),
    having: conditions(one.having),
    orderBy: one.orderBy === null ? [] : [one.orderBy.direction, one.orderBy.units.map(valueUnit)],
    limit: one.limit,
    intersect: one.intersect === null ? null : whole(one.intersect),
    union: one.union === null ? null : whole(one.union),
    except: one.except === null ? null : whole(one.except),
  });
  return whole(query);
}
