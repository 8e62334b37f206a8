/** How a question is put to a policy, and how what it writes becomes SQL that runs. */
import type { ReadAnswer } from "../../rewards/index.js";
import type { ChatMessage } from "../../text/index.js";
import type { TextToSqlExample } from "./data/index.js";

export interface SqlPrompt {
  messages(example: TextToSqlExample): readonly ChatMessage[];
  /** What a policy has to write to be right. */
  goldText(example: TextToSqlExample): string;
  /** The SQL to run, and what is wrong with the form of what was written. */
  read(text: string, example: TextToSqlExample): ReadAnswer;
  /** Says that the statement failed and asks for another. */
  correction(problem: string): readonly ChatMessage[];
}
