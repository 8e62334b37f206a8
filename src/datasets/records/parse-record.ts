/** A row as a record: every field checked, explicit and implicit prompts told apart. Knows no file. */
import { z } from "zod";
import { UserError } from "../../base/index.js";
import type { ChatMessage } from "../../text/index.js";
import { Messages, parseRow, requireWords, toExample } from "../examples.js";
import { canonical, divideConversations, divideTexts } from "./implicit-prompt.js";
import { recogniseKind, requireColumns } from "./recognise.js";
import type { DataRecord, PreferencePair, RecordKind, RecordNotes, Words } from "./record.js";

/** Where a pair's prompt stands: in its column, or at the start of both answers. */
export type PromptPlace = "auto" | "column" | "answers";

export interface ParseRecordOptions {
  /** Settles what the columns leave open. */
  readonly kind?: RecordKind;
  /** @default "auto": in its column where there is one, unless the answers repeat it */
  readonly promptIn?: PromptPlace;
  /** Makes text a conversation: the prompt a user's message, answers the assistant's. @default false */
  readonly asChat?: boolean;
  /** A system message before the user's; needs `asChat`. */
  readonly system?: string;
}

const Side = z.union([z.string(), Messages]);
const finite = z.number().nullish();
const word = z.union([z.string(), z.number(), z.boolean()]).transform(String);

const Notes = {
  tools: z.array(z.unknown()).nullish(),
  category: word.nullish(),
  tags: z.union([z.string().transform((tag) => [tag]), z.array(word)]).nullish(),
  annotator: word.nullish(),
  timestamp: z.union([z.string(), z.number()]).nullish(),
  margin: finite,
  chosen_score: finite,
  score_chosen: finite,
  rejected_score: finite,
  score_rejected: finite,
};

/** `{"prompt"?, "chosen", "rejected"}` with notes. */
export const PreferenceRow = z.looseObject({
  ...Notes,
  prompt: Side.nullish(),
  chosen: Side,
  rejected: Side,
});
/** `{"prompt", "completion", "label"}`. */
export const UnpairedRow = z.looseObject({ ...Notes, prompt: Side, completion: Side, label: z.boolean() });
/** `{"prompt", "completion", "score"}`. */
export const ScoredRow = z.looseObject({ ...Notes, prompt: Side, completion: Side, score: z.number() });
/** `{"prompt"}`. */
export const PromptRow = z.looseObject({ ...Notes, prompt: Side });
const DemonstrationRow = z.looseObject(Notes);

type Row = Readonly<Record<string, unknown>>;

/**
 * `row`, its columns named as ours are, as a record. `original` is the row as the file has it.
 *
 * @throws UserError for a row that is no record or whose meaning its columns leave open
 */
export function parseRecord(
  row: Row,
  place: { readonly line: number; readonly at: string; readonly original?: Row },
  options: ParseRecordOptions = {},
): DataRecord {
  const { line, at, original = row } = place;
  const kind = options.kind ?? recogniseKind(row, at);
  const origin = { line, row: original };
  switch (kind) {
    case "preference":
      return parsePair(row, origin, at, options);
    case "unpaired": {
      requireColumns(row, ["prompt", "completion", "label"], kind, at);
      if (typeof row["label"] !== "boolean") {
        throw new UserError(
          `Cannot read ${at}: label is ${JSON.stringify(row["label"])}, expected true (a desirable answer) or false. If the column means something else, read the file with --kind demonstration`,
        );
      }
      const { prompt, completion, label, ...notes } = parseRow(UnpairedRow, row, at);
      const sides = alike({ prompt, completion }, at, options);
      return { kind, ...origin, ...notesOf(notes), ...sides, label };
    }
    case "scored": {
      requireColumns(row, ["prompt", "completion", "score"], kind, at);
      const { prompt, completion, score, ...notes } = parseRow(ScoredRow, row, at);
      return { kind, ...origin, ...notesOf(notes), ...alike({ prompt, completion }, at, options), score };
    }
    case "prompt": {
      requireColumns(row, ["prompt"], kind, at);
      const { prompt, ...notes } = parseRow(PromptRow, row, at);
      return { kind, ...origin, ...notesOf(notes), ...alike({ prompt }, at, options) };
    }
    case "demonstration": {
      const example = toExample(row, line, at);
      const notes = notesOf(parseRow(DemonstrationRow, row, at));
      if (options.asChat !== true) return { kind, ...origin, ...notes, example };
      if (example.shape !== "prompt_completion") {
        throw new UserError(
          `Cannot make ${at} a chat: it has ${example.shape}, expected a prompt and a completion of text`,
        );
      }
      const { prompt, completion } = alike(
        { prompt: example.sides.prompt, completion: example.sides.completion },
        at,
        options,
      );
      if (typeof prompt === "string" || typeof completion === "string") throw new Error("internal: no chat");
      return {
        kind,
        ...origin,
        ...notes,
        example: { ...example, sides: { kind: "messages", prompt, completion } },
      };
    }
  }
}

function parsePair(
  row: Row,
  origin: { readonly line: number; readonly row: Row },
  at: string,
  options: ParseRecordOptions,
): PreferencePair {
  requireColumns(row, ["chosen", "rejected"], "preference", at);
  const { prompt, chosen, rejected, ...notes } = parseRow(PreferenceRow, row, at);
  const base = { kind: "preference", ...origin, ...notesOf(notes) } as const;
  if (isExplicit(prompt ?? undefined, chosen, rejected, at, options.promptIn ?? "auto")) {
    // isExplicit() has refused a missing prompt.
    return { ...base, ...alike({ prompt: prompt!, chosen, rejected }, at, options) };
  }
  if (typeof chosen !== typeof rejected) throw mixed("chosen", chosen, "rejected", rejected, at);
  const division =
    typeof chosen === "string" || typeof rejected === "string"
      ? divideTexts(String(chosen), String(rejected))
      : divideConversations(chosen, rejected);
  if ("refused" in division) {
    throw new UserError(
      `Cannot find the prompt of ${at}: ${division.refused}. Give the row a "prompt" of its own`,
    );
  }
  if (typeof prompt === "string" && prompt !== "") requireSamePrompt(prompt, division.prompt, at);
  return { ...base, ...alike(division, at, options) };
}

/**
 * Whether the prompt column is the prompt, rather than the answers' common start.
 *
 * A text prompt beside conversations that hold the prompt themselves (UltraFeedback's layout) is implicit, as in TRL.
 * A prompt of the answers' own form that both answers repeat could be meant either way: trained as it stands, the
 * prompt would come twice.
 */
function isExplicit(
  prompt: Words | undefined,
  chosen: Words,
  rejected: Words,
  at: string,
  promptIn: PromptPlace,
): boolean {
  if (promptIn === "answers") return false;
  if (promptIn === "column") {
    if (prompt !== undefined) return true;
    throw new UserError(
      `Cannot read ${at}: it has no "prompt", expected one because --prompt-in is "column". Set it to "answers" where both answers begin with the prompt`,
    );
  }
  if (prompt === undefined) return false;
  const isTextBesideChat =
    typeof prompt === "string" && typeof chosen !== "string" && typeof rejected !== "string";
  if (isTextBesideChat) return false;
  if (prompt.length > 0 && beginsWith(chosen, prompt) && beginsWith(rejected, prompt)) {
    throw new UserError(
      `Cannot tell where the prompt of ${at} ends: chosen and rejected both begin with all of "prompt", so that it would come twice, expected it either in its column or in the answers. Say which with --prompt-in answers (they hold it) or --prompt-in column (they repeat it on purpose)`,
    );
  }
  return true;
}

function beginsWith(words: Words, prompt: Words): boolean {
  if (typeof words === "string") return typeof prompt === "string" && words.startsWith(prompt);
  if (typeof prompt === "string" || prompt.length > words.length) return false;
  return prompt.every((message, i) => canonical(message) === canonical(words[i]));
}

/** The text prompt beside conversations must be what one of their common messages says. */
function requireSamePrompt(prompt: string, found: Words, at: string): void {
  const says = (text: string): boolean => text.trim() === prompt.trim() || text.includes(prompt.trim());
  const isSaid = typeof found === "string" ? says(found) : found.some(({ content }) => says(content ?? ""));
  if (isSaid) return;
  throw new UserError(
    `Cannot tell what the prompt of ${at} is: "prompt" is ${JSON.stringify(shortened(prompt))}, but what chosen and rejected begin with says otherwise, expected the same. Make prompt a list of messages, or leave it out`,
  );
}

const shortened = (text: string): string => (text.length > 60 ? `${text.slice(0, 60)}…` : text);

/** All sides text, or all messages; with `asChat`, text becomes messages. */
function alike<Field extends "prompt" | "completion" | "chosen" | "rejected">(
  sides: Readonly<Record<Field, Words>>,
  at: string,
  { asChat = false, system }: ParseRecordOptions,
): Record<Field, Words> {
  // Object.entries() forgets the keys' type.
  const entries = Object.entries(sides) as [Field, Words][];
  const [first] = entries;
  for (const [name, words] of entries) {
    if (typeof words !== typeof first![1]) throw mixed(first![0], first![1], name, words, at);
    if (typeof words !== "string") requireWords(words, name, at);
  }
  const made = entries.map(([name, words]): [Field, Words] => {
    if (!asChat) return [name, words];
    if (typeof words !== "string") {
      throw new UserError(`Cannot make ${at} a chat: ${name} already is a list of messages, expected text`);
    }
    return [name, chatOf(name, words, system)];
  });
  return Object.fromEntries(made) as Record<Field, Words>;
}

function chatOf(name: string, content: string, system: string | undefined): ChatMessage[] {
  if (name !== "prompt") return [{ role: "assistant", content }];
  return [...(system === undefined ? [] : [{ role: "system", content: system }]), { role: "user", content }];
}

function mixed(name: string, words: Words, other: string, others: Words, at: string): UserError {
  const form = (one: Words): string => (typeof one === "string" ? "text" : "a list of messages");
  return new UserError(
    `Cannot read ${at}: ${name} is ${form(words)} and ${other} is ${form(others)}, expected the same form in all. Write both as messages, or both as text`,
  );
}

/** The notes that are there; nulls are absent. */
function notesOf(notes: z.infer<typeof DemonstrationRow>): RecordNotes & { tools?: unknown[] } {
  const { tools, category, tags, annotator, timestamp, margin } = notes;
  const chosenScore = notes.chosen_score ?? notes.score_chosen;
  const rejectedScore = notes.rejected_score ?? notes.score_rejected;
  return {
    ...(tools ? { tools } : {}),
    ...(category == null ? {} : { category }),
    ...(tags == null ? {} : { tags }),
    ...(annotator == null ? {} : { annotator }),
    ...(timestamp == null ? {} : { timestamp }),
    ...(margin == null ? {} : { margin }),
    ...(chosenScore == null ? {} : { chosenScore }),
    ...(rejectedScore == null ? {} : { rejectedScore }),
  };
}
