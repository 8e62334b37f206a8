/** The patterns inside `tokenizer.json`: Oniguruma or literal, turned into JavaScript regular expressions. */
import { messageOf, UserError } from "../base/index.js";
import { library } from "./library.js";
import { describe, isRecord } from "./tokenizer-json.js";

/** White space as Rust and Oniguruma see it: with U+0085, without U+FEFF, both unlike JavaScript's `\s`. */
export const WHITE_SPACE = "\\p{White_Space}";

/** What Rust's `\w` matches, for use inside a class. (Oniguruma's has no joiners; the library translates that one.) */
export const WORD_CHARACTERS = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";

/** GPT-2's split into words, the default of the `ByteLevel` pre-tokenizer. */
export const GPT2_WORDS = new RegExp(
  `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${WHITE_SPACE}\\p{L}\\p{N}]+|${WHITE_SPACE}+(?!\\P{White_Space})|${WHITE_SPACE}+`,
  "gu",
);

/** Compiles `{"Regex": …}` (Oniguruma syntax) or `{"String": …}` to a global, Unicode-aware expression. */
export function compilePattern(pattern: unknown, where: string): RegExp {
  if (isRecord(pattern) && typeof pattern["String"] === "string") {
    return new RegExp(escapeRegExp(pattern["String"]), "gu");
  }
  if (!isRecord(pattern) || typeof pattern["Regex"] !== "string") {
    throw new UserError(
      `Cannot read tokenizer ${where}: pattern is ${describe(pattern)}, expected {"Regex"} or {"String"}`,
    );
  }
  const source = unicodeCaseFolds(pattern["Regex"]);
  try {
    // The library's translation from Oniguruma is only reachable through this class.
    const split = new library.SplitPreTokenizer({
      type: "Split",
      pattern: { Regex: source },
      behavior: "Isolated",
      invert: false,
    });
    if (split.pattern !== null) return split.pattern;
  } catch (error) {
    throw new UserError(
      `Cannot read tokenizer ${where}: pattern ${JSON.stringify(pattern["Regex"])} does not compile (${messageOf(error)}), expected an Oniguruma expression that JavaScript can express`,
      { cause: error },
    );
  }
  throw new Error("internal: the library compiled no pattern");
}

export function escapeRegExp(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}

/**
 * Oniguruma's `(?i:s)` also matches U+017F (ſ) and `(?i:k)` U+212A (K); the library folds ASCII only.
 * Letters of a case-insensitive group without classes or escapes become classes with their folds.
 */
function unicodeCaseFolds(source: string): string {
  return source.replace(/\(\?i:([^()[\]\\]*)\)/g, (_, body: string) => {
    const folded = body.replace(/[a-zA-Z]/g, (letter) => {
      const lower = letter.toLowerCase();
      const extra = lower === "s" ? "\u017f" : lower === "k" ? "\u212a" : "";
      return `[${lower}${lower.toUpperCase()}${extra}]`;
    });
    return `(?:${folded})`;
  });
}
