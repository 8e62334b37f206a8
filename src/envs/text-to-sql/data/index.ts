/** Data of the text-to-SQL task: questions, schemas, databases, and their form as text for a small model. */

export { normaliseSql } from "./normalise.js";
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
  createValueLinker,
  fillSlots,
  insertSlots,
  type LinkedQuestion,
  type Slot,
  slotCoverage,
  type ValueLinker,
} from "./slots.js";
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
export { SqlSyntaxError } from "./sql-lexer.js";
export { HARDNESS_LEVELS, type Hardness, hardnessOf, hardnessOfSql } from "./structure/hardness.js";
export { type ParseOptions, parseSpiderQuery } from "./structure/parse.js";
export * from "./structure/query.js";
export { toSpiderJson } from "./structure/spider-json.js";
export {
  formatCompletion,
  formatPrompt,
  type PromptParts,
  questionWords,
  readCompletion,
} from "./text-form.js";
export { trainWordTokenizer, type WordTokenizerOptions } from "./word-tokenizer.js";
