/** Normalised text to words, as `tokenizer.json`'s `pre_tokenizer` says. Strings only; knows nothing about ids. */
import { UserError } from "../base/index.js";
import { compilePattern, escapeRegExp, GPT2_WORDS, WHITE_SPACE, WORD_CHARACTERS } from "./pattern.js";
import { describe, isStage, type Stage } from "./tokenizer-json.js";

/** Splits one piece. `atStart` says that the piece begins the text. */
type Split = (text: string, atStart: boolean) => string[];

export interface PreTokenizer {
  /** Words are in the byte alphabet's meaning: the model maps their UTF-8 bytes to characters (`byte-level.ts`). */
  readonly isByteLevel: boolean;
  readonly split: Split;
}

type Behavior = "Removed" | "Isolated" | "MergedWithPrevious" | "MergedWithNext" | "Contiguous";

const PUNCTUATION = "[\\p{P}!-/:-@\\[-`{-~]";

/** The pre-tokenizer that `stage` describes; without one a text is one word. */
export function createPreTokenizer(stage: Stage | null, where: string): PreTokenizer {
  const stages = stage === null ? [] : flatten(stage, where);
  const byteLevelAt = stages.findIndex(({ type }) => type === "ByteLevel");
  if (byteLevelAt >= 0 && byteLevelAt !== stages.length - 1) {
    throw new UserError(
      `Cannot read tokenizer ${where}: pre-tokenizer "ByteLevel" is followed by "${stages[byteLevelAt + 1]!.type}", expected it to come last`,
    );
  }
  const splits = stages.flatMap((each) => createSplit(each, where) ?? []);
  return { isByteLevel: byteLevelAt >= 0, split: inSequence(splits) };
}

function flatten(stage: Stage, where: string): Stage[] {
  if (stage.type !== "Sequence") return [stage];
  const inner = stage["pretokenizers"];
  if (!Array.isArray(inner) || !inner.every(isStage)) {
    throw new UserError(
      `Cannot read tokenizer ${where}: "pretokenizers" is ${describe(inner)}, expected a list`,
    );
  }
  return inner.flatMap((each) => flatten(each, where));
}

function inSequence(splits: readonly Split[]): Split {
  if (splits.length === 0) return (text) => (text.length === 0 ? [] : [text]);
  if (splits.length === 1) return splits[0]!;
  return (text, atStart) => {
    let words = [text];
    for (const split of splits) {
      const next: string[] = [];
      words.forEach((word, i) => {
        for (const part of split(word, atStart && i === 0)) next.push(part);
      });
      words = next;
    }
    return words;
  };
}

/** @returns undefined when the stage does not change the words */
function createSplit(stage: Stage, where: string): Split | undefined {
  switch (stage.type) {
    case "ByteLevel": {
      const prefixed = stage["add_prefix_space"] === true;
      if (stage["use_regex"] === false) return prefixed ? (text) => [withPrefix(text, " ")] : undefined;
      return (text) => cover(prefixed ? withPrefix(text, " ") : text, GPT2_WORDS);
    }
    case "Split": {
      const pattern = compilePattern(stage["pattern"], where);
      const behavior = parseBehavior(stage["behavior"], where);
      // `invert` swaps what is a match and what lies between; when every piece stands alone that changes nothing.
      if (behavior === "Isolated") return (text) => cover(text, pattern);
      return (text) => splitBy(text, pattern, behavior, stage["invert"] === true);
    }
    case "Digits":
      return stage["individual_digits"] === true
        ? (text) => cover(text, /\p{N}/gu)
        : (text) => cover(text, /\p{N}+/gu);
    case "Punctuation": {
      const behavior = parseBehavior(stage["behavior"] ?? "Isolated", where);
      return (text) => splitBy(text, new RegExp(PUNCTUATION, "gu"), behavior, false);
    }
    case "Metaspace":
      return createMetaspace(stage);
    case "WhitespaceSplit":
      return (text) => splitBy(text, new RegExp(WHITE_SPACE, "gu"), "Removed", false);
    case "Whitespace": {
      const pattern = new RegExp(`[${WORD_CHARACTERS}]+|[^${WORD_CHARACTERS}${WHITE_SPACE}]+`, "gu");
      return (text) => splitBy(text, pattern, "Removed", true);
    }
    case "BertPreTokenizer":
      return (text) =>
        splitBy(text, new RegExp(WHITE_SPACE, "gu"), "Removed", false).flatMap((word) =>
          splitBy(word, new RegExp(PUNCTUATION, "gu"), "Isolated", false),
        );
    case "CharDelimiterSplit":
      return (text) =>
        splitBy(text, new RegExp(escapeRegExp(String(stage["delimiter"])), "gu"), "Removed", false);
    default:
      throw new UserError(
        `Cannot read tokenizer ${where}: pre-tokenizer "${stage.type}" is unknown, expected ByteLevel, Split, Digits, Punctuation, Metaspace, Whitespace, WhitespaceSplit, BertPreTokenizer, CharDelimiterSplit or Sequence`,
      );
  }
}

function createMetaspace(stage: Stage): Split {
  const mark = typeof stage["replacement"] === "string" ? stage["replacement"] : "\u2581";
  // Files from before `prepend_scheme` say `add_prefix_space`.
  const scheme = stage["prepend_scheme"] ?? (stage["add_prefix_space"] === false ? "never" : "always");
  const pattern = new RegExp(escapeRegExp(mark), "gu");
  return (text, atStart) => {
    const spaced = text.replaceAll(" ", mark);
    const marked = scheme === "always" || (scheme === "first" && atStart) ? withPrefix(spaced, mark) : spaced;
    return stage["split"] === false ? [marked] : splitBy(marked, pattern, "MergedWithNext", false);
  };
}

function withPrefix(text: string, prefix: string): string {
  return text.startsWith(prefix) ? text : prefix + text;
}

function parseBehavior(value: unknown, where: string): Behavior {
  switch (value) {
    case "Removed":
    case "Isolated":
    case "MergedWithPrevious":
    case "MergedWithNext":
    case "Contiguous":
      return value;
    default:
      throw new UserError(
        `Cannot read tokenizer ${where}: split behavior is ${describe(value)}, expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous`,
      );
  }
}

/** Matches and the stretches between them, in order: the whole text. */
function cover(text: string, pattern: RegExp): string[] {
  const words = text.match(pattern);
  if (words === null) return text.length === 0 ? [] : [text];
  let length = 0;
  for (const word of words) length += word.length;
  // Word patterns usually match everything; then the engine's own fast path is the answer.
  if (length === text.length) return words.includes("") ? words.filter((word) => word !== "") : words;
  return pieces(text, pattern).map((piece) => piece.text);
}

interface Piece {
  readonly text: string;
  readonly isMatch: boolean;
}

function pieces(text: string, pattern: RegExp): Piece[] {
  const found: Piece[] = [];
  let done = 0;
  for (const match of text.matchAll(pattern)) {
    if (match[0].length === 0) continue;
    if (match.index > done) found.push({ text: text.slice(done, match.index), isMatch: false });
    found.push({ text: match[0], isMatch: true });
    done = match.index + match[0].length;
  }
  if (done < text.length) found.push({ text: text.slice(done), isMatch: false });
  return found;
}

function splitBy(text: string, pattern: RegExp, behavior: Behavior, invert: boolean): string[] {
  const words: string[] = [];
  let pending = "";
  let previousMatched = false;
  for (const piece of pieces(text, pattern)) {
    const isMatch = piece.isMatch !== invert;
    switch (behavior) {
      case "Removed":
        if (!isMatch) words.push(piece.text);
        break;
      case "Isolated":
        words.push(piece.text);
        break;
      case "Contiguous":
        if (isMatch === previousMatched && words.length > 0) words[words.length - 1] += piece.text;
        else words.push(piece.text);
        break;
      case "MergedWithPrevious":
        if (isMatch && !previousMatched && words.length > 0) words[words.length - 1] += piece.text;
        else words.push(piece.text);
        break;
      case "MergedWithNext":
        if (isMatch) {
          if (pending !== "") words.push(pending);
          pending = piece.text;
        } else {
          words.push(pending + piece.text);
          pending = "";
        }
        break;
    }
    previousMatched = isMatch;
  }
  if (pending !== "") words.push(pending);
  return words;
}
