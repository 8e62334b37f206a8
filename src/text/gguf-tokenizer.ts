/** The tokenizer inside a GGUF file's metadata, as tokenizer files in Hugging Face layout. Reads no files. */
import { UserError } from "../base/index.js";
import { GGUF_WORD_SPLITS } from "./gguf-pre-tokenizers.js";
import { byteLevelTokenizerJson } from "./gpt2-files.js";
import type { TokenizerFiles } from "./llama2c-tokenizer.js";
import { scoreBpeTokenizerJson } from "./score-bpe.js";
import { describe, type TokenizerConfig, type TokenizerJson } from "./tokenizer-json.js";

/** `tokenizer.ggml.token_type`. */
const CONTROL = 3;
const USER_DEFINED = 4;

type Metadata = Readonly<Record<string, unknown>>;

/** For `tokenizer.ggml.model` "gpt2" (byte-level BPE) and "llama" (SentencePiece BPE). @throws UserError */
export function ggufTokenizer(metadata: Metadata): TokenizerFiles {
  const model = metadata["tokenizer.ggml.model"];
  const tokens = strings(metadata, "tokenizer.ggml.tokens");
  const types = numbers(metadata, "tokenizer.ggml.token_type", tokens.length);
  const idOf = (name: string): number | undefined => {
    const value = metadata[`tokenizer.ggml.${name}_token_id`];
    if (value === undefined) return undefined;
    const id = Number(value);
    if (Number.isInteger(id) && id >= 0 && id < tokens.length) return id;
    throw fails(`${name}_token_id is ${describe(value)}`, `an id below ${tokens.length}`);
  };
  const ids = { bos: idOf("bos"), eos: idOf("eos"), unknown: idOf("unknown"), pad: idOf("padding") };
  const adds = (field: string, otherwise: boolean): boolean => {
    const value = metadata[`tokenizer.ggml.${field}`];
    return typeof value === "boolean" ? value : otherwise;
  };
  const isLlama = model === "llama";
  const beforeIds = adds("add_bos_token", isLlama) && ids.bos !== undefined ? [ids.bos] : [];
  const afterIds = adds("add_eos_token", false) && ids.eos !== undefined ? [ids.eos] : [];
  const tokenizerConfig = configOf(metadata, tokens, ids);

  if (isLlama) {
    const scores = numbers(metadata, "tokenizer.ggml.scores", tokens.length);
    if (scores === undefined) throw fails("scores are missing", "one per token");
    const pieces = tokens.map((text, id) => ({
      text,
      score: scores[id]!,
      isControl: types?.[id] === CONTROL,
      isAdded: types?.[id] === USER_DEFINED,
    }));
    const tokenizerJson = scoreBpeTokenizerJson(pieces, {
      space: "\u2581",
      hasPrefixSpace: adds("add_space_prefix", true),
      unknownId: ids.unknown ?? 0,
      beforeIds,
      afterIds,
    });
    return { tokenizerJson, tokenizerConfig };
  }
  if (model !== "gpt2") throw fails(`model is ${describe(model)}`, '"gpt2" or "llama"');
  const named = (type: number) =>
    tokens.flatMap((content, id) => (types?.[id] === type ? [{ id, content }] : []));
  const tokenizerJson = byteLevelTokenizerJson({
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges: parseMerges(metadata),
    specialTokens: named(CONTROL),
    addedTokens: named(USER_DEFINED),
    ...wordSplitOf(metadata),
  });
  return { tokenizerJson: withTemplate(tokenizerJson, tokens, beforeIds, afterIds), tokenizerConfig };
}

function wordSplitOf(metadata: Metadata) {
  const name = metadata["tokenizer.ggml.pre"] ?? "default";
  const found =
    typeof name === "string" && Object.hasOwn(GGUF_WORD_SPLITS, name) ? GGUF_WORD_SPLITS[name] : undefined;
  if (found !== undefined) return found;
  throw fails(`pre is ${describe(name)}`, `one of ${Object.keys(GGUF_WORD_SPLITS).join(", ")}`);
}

function parseMerges(metadata: Metadata): string[][] {
  return strings(metadata, "tokenizer.ggml.merges").map((merge, i) => {
    // A token may hold spaces only as Ġ, so the first space divides.
    const at = merge.indexOf(" ");
    if (at <= 0) throw fails(`merge ${i} is ${JSON.stringify(merge)}`, "two tokens with a space between");
    return [merge.slice(0, at), merge.slice(at + 1)];
  });
}

function withTemplate(
  json: TokenizerJson,
  tokens: readonly string[],
  beforeIds: readonly number[],
  afterIds: readonly number[],
): TokenizerJson {
  const around = [...beforeIds, ...afterIds];
  if (around.length === 0) return json;
  const special = (id: number) => ({ SpecialToken: { id: tokens[id]!, type_id: 0 } });
  const single = [...beforeIds.map(special), { Sequence: { id: "A", type_id: 0 } }, ...afterIds.map(special)];
  return {
    ...json,
    post_processor: {
      type: "TemplateProcessing",
      single,
      pair: [...single, { Sequence: { id: "B", type_id: 1 } }],
      special_tokens: Object.fromEntries(
        around.map((id) => [tokens[id]!, { id: tokens[id]!, ids: [id], tokens: [tokens[id]!] }]),
      ),
    },
  };
}

function configOf(
  metadata: Metadata,
  tokens: readonly string[],
  ids: {
    bos: number | undefined;
    eos: number | undefined;
    unknown: number | undefined;
    pad: number | undefined;
  },
): TokenizerConfig {
  const token = (field: string, id: number | undefined) => (id === undefined ? {} : { [field]: tokens[id]! });
  const template = metadata["tokenizer.chat_template"];
  return {
    tokenizer_class: "PreTrainedTokenizerFast",
    ...token("bos_token", ids.bos),
    ...token("eos_token", ids.eos),
    ...token("unk_token", ids.unknown),
    ...token("pad_token", ids.pad),
    clean_up_tokenization_spaces: false,
    ...(typeof template === "string" ? { chat_template: template } : {}),
  };
}

function strings(metadata: Metadata, key: string): string[] {
  const value = metadata[key];
  if (Array.isArray(value) && value.every((item): item is string => typeof item === "string")) return value;
  throw fails(`"${key}" is ${describe(value)}`, "a list of strings");
}

/** Numbers come as a list or a typed array; absent is undefined. */
function numbers(metadata: Metadata, key: string, length: number): number[] | undefined {
  const value = metadata[key];
  if (value === undefined) return undefined;
  // Any typed array or list has the iterator; what it yields is checked below.
  const list =
    Array.isArray(value) || ArrayBuffer.isView(value) ? Array.from(value as Iterable<unknown>, Number) : [];
  if (list.length === length && !list.some(Number.isNaN)) return list;
  throw fails(`"${key}" has ${list.length} numbers`, `${length}, one per token`);
}

function fails(found: string, expected: string): UserError {
  return new UserError(`Cannot read the tokenizer of the GGUF file: ${found}, expected ${expected}`);
}
