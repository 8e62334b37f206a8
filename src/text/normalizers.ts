/**
 * Text to normalised text, as `tokenizer.json`'s `normalizer` says, keeping track of where each unit came from.
 * Strings only; knows nothing about tokens.
 */
import { UserError } from "../base/index.js";
import { library } from "./library.js";
import { compilePattern, WHITE_SPACE } from "./pattern.js";
import { describe, isStage, type Stage } from "./tokenizer-json.js";

/** Units `start` up to `end` of the input are replaced by `content`. Edits are in order and do not overlap. */
interface Edit {
  readonly start: number;
  readonly end: number;
  readonly content: string;
}

/** One normaliser: the new text, and the edits that make it. */
interface Normalizer {
  apply(text: string): string;
  edits(text: string): readonly Edit[];
}

/** Normalised text; unit `i` of it came from the input's units `starts[i]` up to `ends[i]`. */
export interface AlignedText {
  readonly text: string;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

export interface TextNormalizer {
  apply(text: string): string;
  /** @returns undefined when the text is normalised already */
  align(text: string): AlignedText | undefined;
}

/** The normaliser that `stage` describes. */
export function createNormalizer(stage: Stage | null, where: string): TextNormalizer {
  const steps = stage === null ? [] : createSteps(stage, where);
  return {
    apply: (text) => steps.reduce((current, step) => step.apply(current), text),
    align(text) {
      let aligned: AlignedText | undefined;
      for (const step of steps) {
        const edits = step.edits(aligned?.text ?? text);
        if (edits.length > 0) aligned = applyEdits(aligned ?? identity(text), edits);
      }
      return aligned;
    },
  };
}

function createSteps(stage: Stage, where: string): Normalizer[] {
  if (stage.type === "Sequence") {
    const inner = stage["normalizers"];
    if (!Array.isArray(inner) || !inner.every(isStage)) {
      throw new UserError(
        `Cannot read tokenizer ${where}: "normalizers" is ${describe(inner)}, expected a list`,
      );
    }
    return inner.flatMap((each) => createSteps(each, where));
  }
  return [createStep(stage, where)];
}

function createStep(stage: Stage, where: string): Normalizer {
  const text = (field: string): string => {
    const value = stage[field];
    if (typeof value === "string") return value;
    throw new UserError(
      `Cannot read tokenizer ${where}: "${field}" of normalizer "${stage.type}" is ${describe(value)}, expected a string`,
    );
  };
  switch (stage.type) {
    case "NFC":
    case "NFD":
    case "NFKC":
    case "NFKD":
      return unicodeForm(stage.type);
    case "Prepend": {
      const content = text("prepend");
      return fromEdits((input) => (input.length === 0 ? [] : [{ start: 0, end: 0, content }]));
    }
    case "Replace":
      return replacement(compilePattern(stage["pattern"], where), () => text("content"));
    case "Lowercase":
      // Code point by code point, as Rust does: no final sigma.
      return replacement(/\p{Changes_When_Lowercased}/gu, (char) => char.toLowerCase());
    case "StripAccents":
      return replacement(/\p{M}/gu, () => "");
    case "Strip": {
      const sides = [
        stage["strip_left"] === true ? `^${WHITE_SPACE}+` : [],
        stage["strip_right"] === true ? `${WHITE_SPACE}+$` : [],
      ].flat();
      return sides.length === 0
        ? fromEdits(() => [])
        : replacement(new RegExp(sides.join("|"), "gu"), () => "");
    }
    case "BertNormalizer":
      return opaque(new library.BertNormalizer(stage));
    case "Precompiled":
      return opaque(new library.PrecompiledNormalizer(stage));
    default:
      throw new UserError(
        `Cannot read tokenizer ${where}: normalizer "${stage.type}" is unknown, expected NFC, NFD, NFKC, NFKD, Prepend, Replace, Lowercase, Strip, StripAccents, BertNormalizer, Precompiled or Sequence`,
      );
  }
}

function fromEdits(edits: (text: string) => readonly Edit[]): Normalizer {
  const apply = (text: string): string => {
    let out = "";
    let done = 0;
    for (const { start, end, content } of edits(text)) {
      out += text.slice(done, start) + content;
      done = end;
    }
    return out + text.slice(done);
  };
  return { apply, edits };
}

function replacement(pattern: RegExp, content: (match: string) => string): Normalizer {
  return {
    apply: (text) => text.replace(pattern, (match) => content(match)),
    edits: (text) =>
      Array.from(text.matchAll(pattern), (match) => ({
        start: match.index,
        end: match.index + match[0].length,
        content: content(match[0]),
      })),
  };
}

function unicodeForm(form: "NFC" | "NFD" | "NFKC" | "NFKD"): Normalizer {
  return {
    apply: (text) => text.normalize(form),
    edits(text) {
      const whole = text.normalize(form);
      if (whole === text) return [];
      const edits = clusterEdits(text, form);
      const rebuilt = fromEdits(() => edits).apply(text);
      // Clusters that interact (never seen) would misplace units: then the whole text is one edit.
      return rebuilt === whole ? edits : [{ start: 0, end: text.length, content: whole }];
    },
  };
}

/** One edit per run of characters that normalise together and change. */
function clusterEdits(text: string, form: string): Edit[] {
  const edits: Edit[] = [];
  let start = 0;
  let cluster = "";
  const flush = (): void => {
    const content = cluster.normalize(form);
    if (content !== cluster) edits.push({ start, end: start + cluster.length, content });
    start += cluster.length;
    cluster = "";
  };
  for (const char of text) {
    const joins =
      /\p{M}/u.test(char) ||
      (cluster + char).normalize(form) !== cluster.normalize(form) + char.normalize(form);
    if (!joins) flush();
    cluster += char;
  }
  flush();
  return edits;
}

/** A normaliser whose inner steps are not known: what it changes counts as changed as a whole. */
function opaque(normalizer: { normalize(text: string): string }): Normalizer {
  const apply = (text: string): string => normalizer.normalize(text);
  return {
    apply,
    edits(text) {
      const content = apply(text);
      return content === text ? [] : [{ start: 0, end: text.length, content }];
    },
  };
}

function identity(text: string): AlignedText {
  const starts = Int32Array.from({ length: text.length }, (_, i) => i);
  return { text, starts, ends: starts.map((start) => start + 1) };
}

function applyEdits(aligned: AlignedText, edits: readonly Edit[]): AlignedText {
  const starts: number[] = [];
  const ends: number[] = [];
  let text = "";
  let done = 0;
  const keep = (until: number): void => {
    text += aligned.text.slice(done, until);
    for (; done < until; done++) {
      starts.push(aligned.starts[done]!);
      ends.push(aligned.ends[done]!);
    }
  };
  for (const { start, end, content } of edits) {
    keep(start);
    // An insertion has no extent: it sits where the next unit begins.
    const from = aligned.starts[start] ?? aligned.ends[aligned.ends.length - 1] ?? 0;
    const to = end > start ? aligned.ends[end - 1]! : from;
    for (let i = 0; i < content.length; i++) {
      starts.push(from);
      ends.push(to);
    }
    text += content;
    done = end;
  }
  keep(aligned.text.length);
  return { text, starts: Int32Array.from(starts), ends: Int32Array.from(ends) };
}
