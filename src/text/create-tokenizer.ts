/** The pipeline: added tokens, normaliser, words, model, and back. Objects in, a tokenizer out; reads no files. */
import { UserError } from "../base/index.js";
import { createSectioner } from "./added-tokens.js";
import { byteOfFallbackToken, bytesOfToken, createDecoder } from "./decoders.js";
import { createNormalizer } from "./normalizers.js";
import { parsePostProcessor } from "./post-processor.js";
import { createPreTokenizer } from "./pre-tokenizers.js";
import { createTokenModel } from "./token-model.js";
import { createTokenSpans } from "./token-spans.js";
import type { EncodedText, TextTokenizer } from "./tokenizer.js";
import {
  type AddedToken,
  isRecord,
  isTokenId,
  parseAddedToken,
  parseTokenizerJson,
  type TokenizerConfig,
} from "./tokenizer-json.js";

export interface CreateTokenizerOptions {
  /** @default "" */
  readonly hash?: string;
  /** What messages call the tokenizer: its file. @default "tokenizer.json" */
  readonly where?: string;
  /** Further ids that end a text, from config.json and generation_config.json. */
  readonly eosIds?: readonly number[];
}

/** Special-token fields of `tokenizer_config.json` that templates may read. */
const SPECIAL_FIELDS = [
  "bos_token",
  "eos_token",
  "unk_token",
  "sep_token",
  "pad_token",
  "cls_token",
  "mask_token",
];

/** A tokenizer from the contents of `tokenizer.json` and `tokenizer_config.json`. */
export function createTokenizer(
  tokenizerJson: unknown,
  config: TokenizerConfig = {},
  options: CreateTokenizerOptions = {},
): TextTokenizer {
  const where = options.where ?? "tokenizer.json";
  const json = parseTokenizerJson(tokenizerJson, where);
  const added = addedTokensOf(json.added_tokens, config, where);
  const normalizer = createNormalizer(json.normalizer, where);
  const words = createPreTokenizer(json.pre_tokenizer, where);
  const model = createTokenModel(json.model, words.isByteLevel, where);
  const around = parsePostProcessor(json.post_processor, where);
  const decoder = createDecoder(json.decoder, where);

  const normalized = added.filter((token) => token.normalized);
  const sectionsOf = createSectioner(
    new Map(added.filter((token) => !token.normalized).map((token) => [token.content, token])),
  );
  const normalizedSectionsOf = createSectioner(
    new Map(normalized.map((token) => [normalizer.apply(token.content), token])),
  );

  const strings: (string | undefined)[] = [];
  for (const [token, id] of model.vocab) strings[id] = token;
  for (const { id, content } of added) strings[id] = content;
  const ids = new Map(model.vocab);
  for (const { id, content } of added) ids.set(content, id);
  const addedIds = new Set(added.map(({ id }) => id));
  const specialIds = new Set(added.filter(({ special }) => special).map(({ id }) => id));
  const specialTokens = specialTokensOf(config);
  const idOf = (field: string): number | undefined => {
    const token = specialTokens[field];
    return token === undefined ? undefined : ids.get(token);
  };

  const tokenBytes = (id: number): Uint8Array => {
    const token = strings[id];
    if (token === undefined) return new Uint8Array(0);
    if (addedIds.has(id)) return new TextEncoder().encode(token);
    if (words.isByteLevel) return Uint8Array.from(bytesOfToken(token));
    const byte = byteOfFallbackToken(token);
    return byte === undefined
      ? new TextEncoder().encode(token.replaceAll("\u2581", " "))
      : Uint8Array.of(byte);
  };
  const spansOf = createTokenSpans({
    isByteLevel: words.isByteLevel,
    tokenString: (id) => strings[id] ?? "",
  });

  function encode(text: string): number[] {
    const out: number[] = [];
    for (const section of sectionsOf(text)) {
      if (section.token !== undefined) {
        out.push(section.token.id);
        continue;
      }
      const clean = normalizer.apply(text.slice(section.start, section.end));
      for (const part of normalizedSectionsOf(clean)) {
        if (part.token !== undefined) {
          out.push(part.token.id);
          continue;
        }
        const atStart = section.start === 0 && part.start === 0;
        for (const word of words.split(clean.slice(part.start, part.end), atStart)) {
          for (const id of model.encodeWord(word)) out.push(id);
        }
      }
    }
    return out;
  }

  function encodeWithOffsets(text: string): EncodedText {
    const tokens_T: number[] = [];
    const starts_T: number[] = [];
    const ends_T: number[] = [];
    const add = (id: number, start: number, end: number): void => {
      tokens_T.push(id);
      starts_T.push(start);
      ends_T.push(end);
    };
    for (const section of sectionsOf(text)) {
      if (section.token !== undefined) {
        add(section.token.id, section.start, section.end);
        continue;
      }
      const raw = text.slice(section.start, section.end);
      const aligned = normalizer.align(raw);
      const clean = aligned?.text ?? raw;
      const from = (unit: number): number =>
        section.start + (aligned === undefined ? unit : (aligned.starts[unit] ?? aligned.ends.at(-1) ?? 0));
      const until = (unit: number): number =>
        section.start + (aligned === undefined || unit === 0 ? unit : aligned.ends[unit - 1]!);
      for (const part of normalizedSectionsOf(clean)) {
        if (part.token !== undefined) {
          add(part.token.id, from(part.start), until(part.end));
          continue;
        }
        const piece = clean.slice(part.start, part.end);
        const split = words.split(piece, section.start === 0 && part.start === 0);
        const inserted = split.reduce((length, word) => length + word.length, 0) - piece.length;
        if (inserted < 0) {
          throw new UserError(
            `Cannot say which text each token covers: tokenizer ${where} drops parts of the text, expected one that keeps all of it`,
          );
        }
        // What a pre-tokenizer inserts is a prefix of the part; it has no extent of its own.
        let unit = part.start - inserted;
        for (const word of split) {
          const wordIds = model.encodeWord(word);
          spansOf(word, wordIds).forEach((span, i) => {
            const start = Math.max(unit + span.start, part.start);
            const end = Math.max(unit + span.end, part.start);
            add(wordIds[i]!, from(start), end > start ? until(end) : from(start));
          });
          unit += word.length;
        }
      }
    }
    return { tokens_T, starts_T, ends_T };
  }

  return {
    vocabSize: strings.length,
    ...defined("bosId", idOf("bos_token")),
    ...defined("eosId", idOf("eos_token") ?? options.eosIds?.[0]),
    ...defined("padId", idOf("pad_token")),
    eosIds: [...new Set([idOf("eos_token") ?? [], options.eosIds ?? []].flat())],
    hash: options.hash ?? "",
    specialTokens,
    encode: (text, { addSpecialTokens = false } = {}) =>
      addSpecialTokens ? [...around.before, ...encode(text), ...around.after] : encode(text),
    encodeWithOffsets,
    decode: (tokens, { skipSpecialTokens = false } = {}) =>
      decoder(tokens.flatMap((id) => (skipSpecialTokens && specialIds.has(id) ? [] : (strings[id] ?? [])))),
    tokenString: (id) => strings[id],
    tokenId: (token) => ids.get(token),
    isSpecial: (id) => specialIds.has(id),
    tokenBytes,
  };
}

/** `added_tokens` of tokenizer.json, then what `added_tokens_decoder` of tokenizer_config.json adds to it. */
function addedTokensOf(
  entries: readonly Readonly<Record<string, unknown>>[],
  config: TokenizerConfig,
  where: string,
): AddedToken[] {
  const tokens = entries.map((entry) => parseAddedToken(entry, where));
  const known = new Set(tokens.map(({ id }) => id));
  const decoder = config.added_tokens_decoder;
  for (const [id, entry] of Object.entries(isRecord(decoder) ? decoder : {})) {
    if (known.has(Number(id)) || !isRecord(entry)) continue;
    tokens.push(parseAddedToken({ ...entry, id: Number(id) }, `${where} (added_tokens_decoder)`));
  }
  return tokens;
}

function specialTokensOf(config: TokenizerConfig): Record<string, string> {
  return Object.fromEntries(
    SPECIAL_FIELDS.flatMap((field) => {
      const value = config[field];
      const token = isRecord(value) ? value["content"] : value;
      return typeof token === "string" ? [[field, token]] : [];
    }),
  );
}

function defined<K extends string>(key: K, id: number | undefined): { readonly [_ in K]?: number } {
  // The computed key is exactly K; TypeScript widens it to string.
  return isTokenId(id) ? ({ [key]: id } as { readonly [_ in K]: number }) : {};
}
