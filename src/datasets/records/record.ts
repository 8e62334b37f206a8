/**
 * What a row of data is beyond supervised examples: a preference pair, an answer with a label, an answer with a score,
 * or a prompt alone. Knows no file and no tokens.
 */
import type { ChatMessage } from "../../text/index.js";
import type { Example, PromptCompletionExample } from "../examples.js";

/** Text, or messages for the model's chat template. */
export type Words = string | readonly ChatMessage[];

/** What may stand beside the words of a row, under the names that data sets use for it. */
export interface RecordNotes {
  readonly category?: string;
  readonly tags?: readonly string[];
  readonly annotator?: string;
  /** As the row has it; an ISO date or seconds. */
  readonly timestamp?: string | number;
  /** By how much chosen is better than rejected. */
  readonly margin?: number;
  readonly chosenScore?: number;
  readonly rejectedScore?: number;
}

interface RecordBase extends RecordNotes {
  /** The line of the file it stands on (the number of the row in Parquet), from 1. */
  readonly line: number;
  /** The row as the file has it. */
  readonly row: Readonly<Record<string, unknown>>;
  readonly tools?: readonly unknown[];
}

/** One answer preferred over another. Prompt and both answers are all text or all messages. */
export interface PreferencePair extends RecordBase {
  readonly kind: "preference";
  readonly prompt: Words;
  readonly chosen: Words;
  readonly rejected: Words;
}

/** An answer that is desirable or not (KTO). */
export interface UnpairedLabel extends RecordBase {
  readonly kind: "unpaired";
  readonly prompt: Words;
  readonly completion: Words;
  readonly label: boolean;
}

/** An answer with a number that says how good it is. */
export interface ScoredOutput extends RecordBase {
  readonly kind: "scored";
  readonly prompt: Words;
  readonly completion: Words;
  readonly score: number;
}

/** A prompt to answer. Its other columns are in `row`, for rewards. */
export interface PromptRecord extends RecordBase {
  readonly kind: "prompt";
  readonly prompt: Words;
}

/** A row of supervised training. */
export interface Demonstration extends RecordBase {
  readonly kind: "demonstration";
  readonly example: Example;
}

export type DataRecord = PreferencePair | UnpairedLabel | ScoredOutput | PromptRecord | Demonstration;
export type RecordKind = DataRecord["kind"];

/** One text of a record: what the model is asked, or what it (or somebody) answered. */
export interface AnswerText {
  readonly role: "chosen" | "rejected" | "completion";
  readonly text: string;
}

/** The words as text: the contents of messages, one after the other, calls of tools as JSON. */
export function textOf(words: Words): string {
  if (typeof words === "string") return words;
  return words
    .map((message) => {
      const calls = message["tool_calls"];
      const called = Array.isArray(calls) && calls.length > 0 ? JSON.stringify(calls) : "";
      return [message.content ?? "", called].filter((part) => part !== "").join("\n");
    })
    .join("\n");
}

/** The text of the prompt; of a plain text, nothing. */
export function promptText(record: DataRecord): string {
  if (record.kind !== "demonstration") return textOf(record.prompt);
  const { example } = record;
  switch (example.shape) {
    case "text":
      return "";
    case "prompt_completion":
      return textOf(example.sides.prompt);
    case "messages":
      return textOf(example.messages.slice(0, firstAnswer(example.messages)));
  }
}

/** The answers of a record, in the order chosen, rejected; of a prompt, none. */
export function answersOf(record: DataRecord): AnswerText[] {
  switch (record.kind) {
    case "preference":
      return [
        { role: "chosen", text: textOf(record.chosen) },
        { role: "rejected", text: textOf(record.rejected) },
      ];
    case "unpaired":
    case "scored":
      return [{ role: "completion", text: textOf(record.completion) }];
    case "prompt":
      return [];
    case "demonstration":
      return [{ role: "completion", text: completionText(record.example) }];
  }
}

/** A pair as two examples with the same prompt: what tokenises and masks supervised rows does the same for pairs. */
export function pairExamples(pair: PreferencePair): {
  readonly chosen: PromptCompletionExample;
  readonly rejected: PromptCompletionExample;
} {
  return {
    chosen: completionExample(pair, pair.prompt, pair.chosen),
    rejected: completionExample(pair, pair.prompt, pair.rejected),
  };
}

/** A labelled or scored answer as an example. */
export function outputExample(output: UnpairedLabel | ScoredOutput): PromptCompletionExample {
  return completionExample(output, output.prompt, output.completion);
}

function completionExample(
  { line, row, tools }: RecordBase,
  prompt: Words,
  completion: Words,
): PromptCompletionExample {
  const base = { shape: "prompt_completion", line, extra: row, ...(tools ? { tools } : {}) } as const;
  if (typeof prompt === "string" && typeof completion === "string") {
    return { ...base, sides: { kind: "text", prompt, completion } };
  }
  if (typeof prompt === "string" || typeof completion === "string") {
    throw new Error(`internal: the record of line ${line} is half text, half messages`);
  }
  return { ...base, sides: { kind: "messages", prompt, completion } };
}

function completionText(example: Example): string {
  switch (example.shape) {
    case "text":
      return example.text;
    case "prompt_completion":
      return textOf(example.sides.completion);
    case "messages":
      return textOf(example.messages.slice(firstAnswer(example.messages)));
  }
}

function firstAnswer(messages: readonly ChatMessage[]): number {
  const first = messages.findIndex(({ role }) => role === "assistant");
  return first === -1 ? messages.length : first;
}
