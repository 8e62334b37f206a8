/** Answers that teach nothing or teach badly, by what is in the text. Knows no tokenizer. */
import { answersOf, type DataRecord, promptText } from "../records/record.js";
import { wordsAndSigns, wordsOf } from "./words.js";

/** The faults, with what each means. */
export const DEGENERACIES = {
  empty: "nothing, or white space alone",
  repeated: "more than half of its four-word sequences occurred before, or one sign 20 times in a row",
  truncated:
    "the row says so (finish_reason), a code block or JSON that never ends, or prose that ends within a sentence",
  echo: "the prompt again, or a long prompt and then something",
  identical: "chosen and rejected are the same",
} as const;

export type Degeneracy = keyof typeof DEGENERACIES;

export interface DegenerateAnswer {
  readonly line: number;
  readonly role: "chosen" | "rejected" | "completion";
  readonly fault: Degeneracy;
}

/** The faults of all answers. A rejected answer may be bad: its faults are listed, and the checks judge them apart. */
export function findDegenerate(records: readonly DataRecord[]): DegenerateAnswer[] {
  return records.flatMap((record) => {
    const { line } = record;
    const prompt = promptText(record);
    const answers = answersOf(record);
    const found: DegenerateAnswer[] = [];
    for (const { role, text } of answers) {
      for (const fault of faultsOf(text, prompt, finishOf(record.row, role)))
        found.push({ line, role, fault });
    }
    const [chosen, rejected] = answers;
    if (chosen !== undefined && rejected !== undefined && chosen.text.trim() === rejected.text.trim()) {
      found.push({ line, role: "chosen", fault: "identical" });
    }
    return found;
  });
}

/** The faults of one answer. `finish` is why its generation ended, where that is known. */
export function faultsOf(text: string, prompt: string, finish?: string): Degeneracy[] {
  if (text.trim() === "") return ["empty"];
  const faults: Degeneracy[] = [];
  if (isRepeated(text)) faults.push("repeated");
  if (isTruncated(text, finish)) faults.push("truncated");
  if (isEcho(text, prompt)) faults.push("echo");
  return faults;
}

const REPEATED_SHARE = 0.5;
const LEAST_SEQUENCES = 12;

function isRepeated(text: string): boolean {
  if (/([\p{L}\p{N}])\1{19}/u.test(text)) return true;
  const words = wordsAndSigns(text);
  const count = words.length - 3;
  if (count < LEAST_SEQUENCES) return false;
  const distinct = new Set(Array.from({ length: count }, (_, i) => words.slice(i, i + 4).join(" ")));
  return 1 - distinct.size / count > REPEATED_SHARE;
}

const CUT = new Set(["length", "max_tokens", "max_length", "truncated"]);
const STOPPED = new Set(["stop", "eos", "end_turn", "stop_sequence", "tool_calls"]);

/** Prose of at least this many words, with a sentence that ends, is expected to end with one. */
const PROSE_WORDS = 20;

function isTruncated(text: string, finish: string | undefined): boolean {
  if (finish !== undefined && CUT.has(finish)) return true;
  if (finish !== undefined && STOPPED.has(finish)) return false;
  const trimmed = text.trim();
  if ((trimmed.match(/^\s*```/gm) ?? []).length % 2 === 1) return true;
  if (/^[{[]/.test(trimmed) && /["}\]]\s*[,:]|^[{[]\s*["{[]/.test(trimmed)) return isOpenJson(trimmed);
  // Of the last line alone: lists, verses and signatures end without a full stop, hashtags and addresses too.
  const lastLine = trimmed.slice(trimmed.lastIndexOf("\n") + 1);
  const isProse = wordsOf(trimmed).length >= PROSE_WORDS && /\p{Ll}[.!?]\s+\p{Lu}/u.test(lastLine);
  return isProse && /(^|\s)[^\s#@/]*[\p{Ll},;]$/u.test(lastLine);
}

/** Whether JSON's brackets or quotes are still open where the text ends. */
function isOpenJson(text: string): boolean {
  let depth = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const sign = text[i]!;
    if (inString) {
      if (sign === "\\") i++;
      else if (sign === '"') inString = false;
    } else if (sign === '"') inString = true;
    else if (sign === "{" || sign === "[") depth++;
    else if (sign === "}" || sign === "]") depth--;
  }
  return inString || depth > 0;
}

const LONG_PROMPT_WORDS = 8;

function isEcho(text: string, prompt: string): boolean {
  const asked = wordsOf(prompt);
  if (asked.length === 0) return false;
  const said = wordsOf(text);
  if (said.length < asked.length || (said.length > asked.length && asked.length < LONG_PROMPT_WORDS))
    return false;
  return asked.every((word, i) => word === said[i]);
}

/** Why the generation of an answer ended, from the columns that samplers write. */
function finishOf(row: Readonly<Record<string, unknown>>, role: string): string | undefined {
  const own = ["finish_reason", "stop_reason", "finishReason", "stopReason"];
  const names = [`${role}_finish_reason`, ...(role === "completion" ? own : [])];
  for (const name of names) {
    const reason = row[name];
    if (typeof reason === "string") return reason;
  }
  return undefined;
}
