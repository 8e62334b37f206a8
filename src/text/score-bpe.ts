/**
 * SentencePiece's BPE as `tokenizer.json`: a vocabulary with scores instead of a list of merges. The pair whose
 * joined piece has the highest score merges first, so ranking every possible split by score gives the merges.
 */
import type { TokenizerJson } from "./tokenizer-json.js";

export interface ScoredPiece {
  readonly text: string;
  readonly score: number;
  /** Control tokens are found in the text as they are, and never made by merging. */
  readonly isControl?: boolean;
  /** Tokens that the user added: found in the text as they are. */
  readonly isAdded?: boolean;
}

export interface ScoreBpeOptions {
  /** How the pieces write a space: llama2.c as itself, GGUF as U+2581. */
  readonly space: " " | "\u2581";
  /** Puts a space before the text. */
  readonly hasPrefixSpace: boolean;
  readonly unknownId: number;
  /** Put before a text when special tokens are asked for. */
  readonly beforeIds: readonly number[];
  readonly afterIds: readonly number[];
}

/** A BPE tokenizer with byte fallback from pieces in the order of their ids. */
export function scoreBpeTokenizerJson(
  pieces: readonly ScoredPiece[],
  { space, hasPrefixSpace, unknownId, beforeIds, afterIds }: ScoreBpeOptions,
): TokenizerJson {
  const vocab = new Map<string, number>();
  pieces.forEach(({ text }, id) => {
    if (!vocab.has(text)) vocab.set(text, id);
  });
  const prepend = { type: "Prepend", prepend: space };
  const replace = { type: "Replace", pattern: { String: " " }, content: space };
  const normalizers = [hasPrefixSpace ? prepend : [], space === " " ? [] : replace].flat();
  const strip = { type: "Strip", content: " ", start: 1, stop: 0 };
  const unreplace = { type: "Replace", pattern: { String: space }, content: " " };
  const sequence = { Sequence: { id: "A", type_id: 0 } };
  const special = (id: number) => ({ SpecialToken: { id: pieces[id]!.text, type_id: 0 } });
  const around = [...beforeIds, ...afterIds];
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: pieces.flatMap(({ text, isControl = false, isAdded = false }, id) =>
      isControl || isAdded || id === unknownId
        ? [
            {
              id,
              content: text,
              single_word: false,
              lstrip: false,
              rstrip: false,
              normalized: false,
              special: !isAdded,
            },
          ]
        : [],
    ),
    normalizer: normalizers.length === 0 ? null : { type: "Sequence", normalizers },
    pre_tokenizer: null,
    post_processor:
      around.length === 0
        ? null
        : {
            type: "TemplateProcessing",
            single: [...beforeIds.map(special), sequence, ...afterIds.map(special)],
            pair: [...beforeIds.map(special), sequence, { Sequence: { id: "B", type_id: 1 } }],
            special_tokens: Object.fromEntries(
              around.map((id) => [
                pieces[id]!.text,
                { id: pieces[id]!.text, ids: [id], tokens: [pieces[id]!.text] },
              ]),
            ),
          },
    decoder: {
      type: "Sequence",
      decoders: [
        space === " " ? [] : unreplace,
        { type: "ByteFallback" },
        { type: "Fuse" },
        hasPrefixSpace ? strip : [],
      ].flat(),
    },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: pieces[unknownId]?.text ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab),
      merges: mergesByScore(pieces, vocab),
    },
  };
}

function mergesByScore(
  pieces: readonly ScoredPiece[],
  vocab: ReadonlyMap<string, number>,
): [string, string][] {
  const isMade = ({ isControl, isAdded, text }: ScoredPiece): boolean =>
    isControl !== true && isAdded !== true && !/^<0x[0-9A-F]{2}>$/.test(text);
  return pieces
    .map((piece, id) => ({ ...piece, id }))
    .filter((piece) => isMade(piece) && vocab.get(piece.text) === piece.id)
    .sort((a, b) => b.score - a.score || a.id - b.id)
    .flatMap(({ text }) => {
      const chars = Array.from(text);
      return chars.slice(1).flatMap((_, i): [string, string][] => {
        const left = chars.slice(0, i + 1).join("");
        const right = chars.slice(i + 1).join("");
        const isPossible = [left, right].every((part) => {
          const id = vocab.get(part);
          return id !== undefined && isMade(pieces[id]!);
        });
        return isPossible ? [[left, right]] : [];
      });
    });
}
