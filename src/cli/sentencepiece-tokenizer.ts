/**
 * SentencePiece BPE vocabularies, as llama2.c and GGUF store them (pieces with scores), as the `tokenizer.json` that
 * gives the same ids. SentencePiece joins the neighbours whose joined piece has the highest score; a merge list in
 * falling order of score does the same.
 */

export interface SentencePieceVocabulary {
  /** In the order of their ids, spaces written `▁`; byte pieces as `<0x0A>`. */
  readonly pieces: readonly string[];
  /** Higher is joined earlier. */
  readonly scores: ArrayLike<number>;
  /** Ids that never come from text. */
  readonly controlIds: ReadonlySet<number>;
  readonly unkId: number;
  readonly bosId: number;
  readonly eosId: number;
}

const SPACE = "▁";
const BYTE_PIECE = /^<0x[0-9A-F]{2}>$/;

/** `tokenizer.json` as transformers' Llama converter lays it out. */
export function sentencePieceTokenizerJson(vocabulary: SentencePieceVocabulary): Record<string, unknown> {
  const { pieces, controlIds, unkId, bosId } = vocabulary;
  const bos = pieces[bosId]!;
  const sequence = (type: string, of: string, stages: readonly unknown[]) => ({ type, [of]: stages });
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: [...controlIds]
      .sort((a, b) => a - b)
      .map((id) => ({
        id,
        content: pieces[id],
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
    normalizer: sequence("Sequence", "normalizers", [
      { type: "Prepend", prepend: SPACE },
      { type: "Replace", pattern: { String: " " }, content: SPACE },
    ]),
    pre_tokenizer: null,
    post_processor: {
      type: "TemplateProcessing",
      single: [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
      pair: [
        { SpecialToken: { id: bos, type_id: 0 } },
        { Sequence: { id: "A", type_id: 0 } },
        { SpecialToken: { id: bos, type_id: 1 } },
        { Sequence: { id: "B", type_id: 1 } },
      ],
      special_tokens: { [bos]: { id: bos, ids: [bosId], tokens: [bos] } },
    },
    decoder: sequence("Sequence", "decoders", [
      { type: "Replace", pattern: { String: SPACE }, content: " " },
      { type: "ByteFallback" },
      { type: "Fuse" },
      { type: "Strip", content: " ", start: 1, stop: 0 },
    ]),
    model: {
      type: "BPE",
      dropout: null,
      unk_token: pieces[unkId],
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(pieces.map((piece, id) => [piece, id])),
      merges: mergesOf(vocabulary),
    },
  };
}

/** `tokenizer_config.json` that goes with it. */
export function sentencePieceTokenizerConfig({
  pieces,
  unkId,
  bosId,
  eosId,
}: SentencePieceVocabulary): Record<string, unknown> {
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    unk_token: pieces[unkId],
    bos_token: pieces[bosId],
    eos_token: pieces[eosId],
    clean_up_tokenization_spaces: false,
  };
}

/** Every way to make a piece of two others, the piece with the highest score first; equal scores in order of id. */
function mergesOf({ pieces, scores, controlIds }: SentencePieceVocabulary): [string, string][] {
  const joinable = (piece: string, id: number): boolean => !controlIds.has(id) && !BYTE_PIECE.test(piece);
  const known = new Set(pieces.filter(joinable));
  const byScore = pieces
    .map((piece, id) => ({ piece, id, score: scores[id]! }))
    .filter(({ piece, id }) => joinable(piece, id))
    .sort((a, b) => b.score - a.score || a.id - b.id);
  return byScore.flatMap(({ piece }) => {
    const characters = [...piece];
    const splits = characters.slice(1).map((_, i): [string, string] => {
      return [characters.slice(0, i + 1).join(""), characters.slice(i + 1).join("")];
    });
    return splits.filter(([left, right]) => known.has(left) && known.has(right));
  });
}
