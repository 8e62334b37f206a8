/** What can be set about the text-to-SQL environment; the defaults are the ones to begin with. */
import { z } from "zod";
import { parseSettings } from "../../base/index.js";

const weight = z.number().nonnegative();

export const TextToSqlConfig = z.strictObject({
  name: z.literal("text-to-sql").default("text-to-sql"),
  data: z.string().min(1).describe("Folder in Spider's layout: database/<db>/<db>.sqlite and questions"),
  databases: z.array(z.string().min(1)).optional().describe("Only questions of these; all that have a file"),
  splitBy: z
    .enum(["question", "query"])
    .default("question")
    .describe("What keeps together where the data is not split yet: query asks for more"),
  splitSeed: z.int().nonnegative().default(0).describe("Of that split"),
  prompt: z
    .enum(["schema", "compact"])
    .default("schema")
    .describe("schema: for chat models; compact: names and words, for small models trained from nothing"),
  answer: z
    .enum(["fenced", "bare"])
    .default("fenced")
    .describe("What schema prompts ask for: a code block, or nothing but the statement"),
  sampleRows: z.int().min(0).max(20).default(2).describe("Example rows of each table in schema prompts"),
  linkValues: z
    .boolean()
    .default(true)
    .describe("Finds the question's values in the cells: listed in schema prompts, slots in compact ones"),
  listTables: z
    .boolean()
    .default(false)
    .describe("Compact prompts list tables and columns: needed for databases that training has not seen"),
  weights: z
    .strictObject({
      execution: weight.default(1).describe("Gives what the gold query gives"),
      partial: weight.default(0).describe("Names the gold query's tables, columns and clauses"),
      format: weight.default(0).describe("One statement, in the form that was asked for"),
      length: weight.default(0).describe("Not much longer than the gold query"),
    })
    .prefault({})
    .describe("Shares of the reward; they need not sum to 1"),
  corrections: z
    .int()
    .min(0)
    .max(8)
    .default(0)
    .describe("Further answers after a statement that fails, with its error shown"),
  correctionDiscount: z
    .number()
    .min(0)
    .max(1)
    .default(1)
    .describe("What each correction multiplies the reward with"),
  distinct: z
    .enum(["kept", "removed"])
    .default("kept")
    .describe("Whether comparisons heed DISTINCT; Spider's own evaluation removes it"),
  statementTimeoutSeconds: z.number().positive().default(2).describe("What one statement may take"),
  workers: z.int().positive().optional().describe("Processes that run SQL; one per core, 4 at most"),
});
export type TextToSqlConfig = z.infer<typeof TextToSqlConfig>;
/** As people write it, without what has a default. */
export type TextToSqlConfigInput = z.input<typeof TextToSqlConfig>;

/** With the defaults filled in. @throws UserError naming every setting that is wrong */
export function parseTextToSqlConfig(given: unknown): TextToSqlConfig {
  return parseSettings(TextToSqlConfig, given, "Cannot open text-to-sql");
}
