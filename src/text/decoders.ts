/**
 * Token strings to text, as `tokenizer.json`'s `decoder` says. Knows nothing about ids.
 * Invalid UTF-8 becomes U+FFFD exactly where the `tokenizers` library puts it.
 */
import { UserError } from "../base/index.js";
import { CHAR_TO_BYTE, utf8Bytes } from "./byte-level.js";
import { compilePattern } from "./pattern.js";
import { describe, isStage, type Stage } from "./tokenizer-json.js";

/** A step from pieces to pieces; the text is their concatenation. */
type Decode = (pieces: readonly string[]) => readonly string[];

export type Decoder = (tokens: readonly string[]) => string;

/** The decoder that `stage` describes; without one, tokens are joined by spaces as the library does. */
export function createDecoder(stage: Stage | null, where: string): Decoder {
  if (stage === null) return (tokens) => tokens.join(" ");
  const decode = createStep(stage, where);
  return (tokens) => decode(tokens).join("");
}

function createStep(stage: Stage, where: string): Decode {
  switch (stage.type) {
    case "Sequence": {
      const inner = stage["decoders"];
      if (!Array.isArray(inner) || !inner.every(isStage)) {
        throw new UserError(
          `Cannot read tokenizer ${where}: "decoders" is ${describe(inner)}, expected a list`,
        );
      }
      const steps = inner.map((each) => createStep(each, where));
      return (pieces) => steps.reduce((current, step) => step(current), pieces);
    }
    case "ByteLevel":
      return createByteLevel();
    case "ByteFallback":
      return joinByteTokens;
    case "Fuse":
      return (pieces) => [pieces.join("")];
    case "Replace": {
      const pattern = compilePattern(stage["pattern"], where);
      const content = String(stage["content"] ?? "");
      return (pieces) => pieces.map((piece) => piece.replace(pattern, () => content));
    }
    case "Strip":
      return (pieces) => pieces.map((piece) => stripEnds(piece, stage));
    case "Metaspace": {
      const mark = typeof stage["replacement"] === "string" ? stage["replacement"] : "\u2581";
      const isPrefixed =
        (stage["prepend_scheme"] ?? (stage["add_prefix_space"] === false ? "never" : "always")) !== "never";
      // The library drops every mark of the first token, not only the one it put there.
      return (pieces) => pieces.map((piece, i) => piece.replaceAll(mark, i === 0 && isPrefixed ? "" : " "));
    }
    case "WordPiece": {
      const prefix = typeof stage["prefix"] === "string" ? stage["prefix"] : "##";
      return (pieces) =>
        pieces.map((piece, i) => {
          const text = i === 0 ? piece : piece.startsWith(prefix) ? piece.slice(prefix.length) : ` ${piece}`;
          return stage["cleanup"] === false ? text : cleanUp(text);
        });
    }
    case "BPEDecoder": {
      const suffix = typeof stage["suffix"] === "string" ? stage["suffix"] : "</w>";
      return (pieces) =>
        pieces.map((piece, i) => piece.replaceAll(suffix, i === pieces.length - 1 ? "" : " "));
    }
    default:
      throw new UserError(
        `Cannot read tokenizer ${where}: decoder "${stage.type}" is unknown, expected ByteLevel, ByteFallback, Fuse, Replace, Strip, Metaspace, WordPiece, BPEDecoder or Sequence`,
      );
  }
}

function createByteLevel(): Decode {
  // At most one entry per token of the vocabulary.
  const known = new Map<string, readonly number[]>();
  const bytesOf = (token: string): readonly number[] => {
    const bytes = known.get(token) ?? bytesOfToken(token);
    known.set(token, bytes);
    return bytes;
  };
  return (pieces) => {
    const bytes: number[] = [];
    for (const piece of pieces) for (const byte of bytesOf(piece)) bytes.push(byte);
    return [lossyUtf8(bytes)];
  };
}

/** The bytes that a byte-level token stands for; a token with a character outside the alphabet stands for itself. */
export function bytesOfToken(token: string): number[] {
  const bytes: number[] = [];
  for (const char of token) {
    const byte = CHAR_TO_BYTE.get(char);
    if (byte === undefined) return Array.from(utf8Bytes(token));
    bytes.push(byte);
  }
  return bytes;
}

/** The byte of a token like `<0x0A>`, or undefined. */
export function byteOfFallbackToken(token: string): number | undefined {
  return /^<0x[0-9A-Fa-f]{2}>$/.test(token) ? Number.parseInt(token.slice(3, 5), 16) : undefined;
}

function lossyUtf8(bytes: readonly number[]): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

/** Runs of byte tokens become text, or one U+FFFD per byte when the run is not UTF-8. */
function joinByteTokens(pieces: readonly string[]): string[] {
  const out: string[] = [];
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      out.push(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes)));
    } catch {
      for (const _ of bytes) out.push("\ufffd");
    }
    bytes = [];
  };
  for (const piece of pieces) {
    const byte = byteOfFallbackToken(piece);
    if (byte === undefined) {
      flush();
      out.push(piece);
    } else {
      bytes.push(byte);
    }
  }
  flush();
  return out;
}

function stripEnds(piece: string, stage: Stage): string {
  const content = String(stage["content"] ?? " ");
  const chars = Array.from(piece);
  const limit = (field: string): number => (typeof stage[field] === "number" ? stage[field] : 0);
  let start = 0;
  while (start < limit("start") && chars[start] === content) start++;
  let end = chars.length;
  while (chars.length - end < limit("stop") && end > start && chars[end - 1] === content) end--;
  return chars.slice(start, end).join("");
}

function cleanUp(text: string): string {
  return text
    .replaceAll(" .", ".")
    .replaceAll(" ?", "?")
    .replaceAll(" !", "!")
    .replaceAll(" ,", ",")
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(" do not", " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");
}
