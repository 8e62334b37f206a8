/** Data of the text-to-SQL task: questions, schemas, databases, and their form as text for a small model. */
export {
  databasePath,
  fillOwnDatabases,
  type OwnDatabasesOptions,
  type OwnQuestion,
  SPLITS,
  type SplitName,
  writeOwnDatabases,
} from "./own-databases.js";
export {
  type ColumnType,
  type DatabaseSchema,
  entryOfSchema,
  type ForeignKey,
  readSqliteSchema,
  type SchemaColumn,
  type SchemaTable,
  schemaOfEntry,
} from "./schema.js";
export {
  type LoadTextToSqlOptions,
  loadDatabases,
  loadSpider,
  loadTextToSqlData,
  type SpiderData,
  type SqlDatabase,
  splitQuestions,
  type TextToSqlData,
  type TextToSqlExample,
} from "./spider.js";
export { lexSql, SqlSyntaxError, type SqlToken } from "./sql-lexer.js";
export { HARDNESS_LEVELS, type Hardness, hardnessOf, hardnessOfSql } from "./structure/hardness.js";
export { parseSpiderQuery } from "./structure/parse.js";
export * from "./structure/query.js";
export { toSpiderJson } from "./structure/spider-json.js";
