/**
 * The prompt for small models trained from nothing: the database's name and the question in words, values as slots;
 * the answer is SQL in one spelling, in words too. Slots are found without a look at the gold query.
 */
import { UserError } from "../../base/index.js";
import { readAnswer } from "../../rewards/index.js";
import {
  createValueLinker,
  fillSlots,
  formatCompletion,
  formatPrompt,
  insertSlots,
  type LinkedQuestion,
  normaliseSql,
  questionWords,
  readCompletion,
  type SqlDatabase,
  SqlSyntaxError,
  type TextToSqlExample,
} from "./data/index.js";
import type { SqlPrompt } from "./prompt.js";

export interface CompactPromptOptions {
  readonly databases: ReadonlyMap<string, SqlDatabase>;
  /** Whether values become slots. */
  readonly linkValues: boolean;
  /** Whether the prompt lists tables and columns: needed for databases that training has not seen. */
  readonly withSchema: boolean;
}

export function createCompactPrompt({ databases, linkValues, withSchema }: CompactPromptOptions): SqlPrompt {
  const linker = createValueLinker(databases);
  const linked = new Map<string, LinkedQuestion>();
  const link = ({ question, database }: TextToSqlExample): LinkedQuestion => {
    if (!linkValues) return { question, slots: [] };
    const key = `${database}\n${question}`;
    let found = linked.get(key);
    if (found === undefined) linked.set(key, (found = linker.link(question, database)));
    return found;
  };
  return {
    messages: (example) => {
      const { schema } = databases.get(example.database)!;
      const parts = { database: example.database, question: link(example).question };
      return [{ role: "user", content: formatPrompt(withSchema ? { ...parts, schema } : parts) }];
    },
    goldText: (example) => {
      const { schema } = databases.get(example.database)!;
      try {
        return formatCompletion(insertSlots(normaliseSql(example.sql, schema), link(example).slots));
      } catch (error) {
        if (!(error instanceof SqlSyntaxError)) throw error;
        throw new UserError(
          `Cannot write the gold query of "${example.id}" in words: ${error.message} (${example.sql})`,
          { cause: error },
        );
      }
    },
    read: (text, example) => {
      const { answer, ...problem } = readAnswer(text, "bare");
      return { answer: fillSlots(readCompletion(answer), link(example).slots), ...problem };
    },
    correction: (problem) => [{ role: "user", content: ` | ${questionWords(problem)} =>` }],
  };
}
