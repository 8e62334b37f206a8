/** llama2.c's and GGUF's tokenizers, against the algorithms that they are defined by. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { createTokenizer } from "./create-tokenizer.js";
import { GGUF_WORD_SPLITS } from "./gguf-pre-tokenizers.js";
import { ggufTokenizer } from "./gguf-tokenizer.js";
import { llama2cTokenizer } from "./llama2c-tokenizer.js";

const golden = resolve(import.meta.dirname, "../../tests/golden/tokenizers");
const data = process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../shared/data");
const tok512 = join(data, "stories260k/tok512.bin");
const directory = mkdtempSync(join(tmpdir(), "hone-text-"));
afterAll(() => rmSync(directory, { recursive: true }));

interface Piece {
  readonly text: string;
  readonly score: number;
}

/** As run.c encodes without BOS: a space, code points or bytes + 3, then the best-scored pair until none is left. */
function referenceEncode(pieces: readonly Piece[], text: string): number[] {
  if (text === "") return [];
  const lookup = new Map(pieces.map((piece, id) => [piece.text, id]));
  const ids = Array.from(` ${text}`).flatMap(
    (char) => lookup.get(char) ?? Array.from(new TextEncoder().encode(char), (byte) => byte + 3),
  );
  for (;;) {
    let best = { score: -1e10, id: -1, at: -1 };
    for (let at = 0; at + 1 < ids.length; at++) {
      const id = lookup.get(pieces[ids[at]!]!.text + pieces[ids[at + 1]!]!.text);
      if (id !== undefined && pieces[id]!.score > best.score) best = { score: pieces[id]!.score, id, at };
    }
    if (best.at < 0) return ids;
    ids.splice(best.at, 2, best.id);
  }
}

const byteName = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;

/** A vocabulary as llama2.c's exporter writes it: three controls, 256 bytes, pieces by falling score. */
function vocabulary(words: readonly string[]): Piece[] {
  const controls = ["<unk>", "\n<s>\n", "\n</s>\n"].map((text) => ({ text, score: 0 }));
  const bytes = Array.from({ length: 256 }, (_, byte) => ({ text: byteName(byte), score: 0 }));
  return [...controls, ...bytes, ...words.map((text, i) => ({ text, score: -i }))];
}

function tokenizerBin(pieces: readonly Piece[]): Buffer {
  const parts = pieces.map(({ text, score }) => {
    const bytes = Buffer.from(text, "utf8");
    const head = Buffer.alloc(8);
    head.writeFloatLE(score, 0);
    head.writeInt32LE(bytes.length, 4);
    return Buffer.concat([head, bytes]);
  });
  return Buffer.concat([Buffer.from([7, 0, 0, 0]), ...parts]);
}

const WORDS = [
  " t",
  "he",
  " a",
  " the",
  "in",
  "ing",
  " ",
  "t",
  "h",
  "e",
  "a",
  "i",
  "n",
  "g",
  "é",
  "\u2581",
  "constructor",
];
const letters = fc.string({
  unit: fc.constantFrom(" ", "t", "h", "e", "a", "i", "n", "g", "é", "x", "\n", "\u2581", "😀"),
});

describe("llama2cTokenizer()", () => {
  it("encodes as run.c does, and decodes back", () => {
    const pieces = vocabulary(WORDS);
    const path = join(directory, "tokenizer.bin");
    writeFileSync(path, tokenizerBin(pieces));
    const { tokenizerJson, tokenizerConfig } = llama2cTokenizer(path, pieces.length);
    const tokenizer = createTokenizer(tokenizerJson, tokenizerConfig);
    expect([tokenizer.bosId, tokenizer.eosId, tokenizer.vocabSize]).toEqual([1, 2, pieces.length]);
    fc.assert(
      fc.property(letters, (text) => {
        const tokens = tokenizer.encode(text);
        expect(tokens).toEqual(referenceEncode(pieces, text));
        expect(tokenizer.decode(tokens)).toBe(text);
        expect(tokenizer.encode(text, { addSpecialTokens: true })).toEqual([1, ...tokens]);
      }),
      { seed: 1, numRuns: 500 },
    );
  });

  const isAbsent = !existsSync(tok512);
  it.skipIf(isAbsent)(
    `encodes with the real tok512.bin${isAbsent ? ` (skipped: ${tok512} is absent)` : ""}`,
    () => {
      const { tokenizerJson, tokenizerConfig } = llama2cTokenizer(tok512, 512);
      const tokenizer = createTokenizer(tokenizerJson, tokenizerConfig);
      const pieces = Array.from({ length: 512 }, (_, id) => ({ text: tokenizer.tokenString(id)!, score: 0 }));
      // Scores fall with the id from 259 on; controls and bytes are 0, so read them from the file's own order.
      const scored = pieces.map(({ text }, id) => ({ text, score: id < 259 ? 0 : 259 - id }));
      const story =
        'Once upon a time, there was a little girl named Lily. She said, "I can\'t!"\n\nÉtoile ™ 漢字 😀';
      expect(tokenizer.encode(story)).toEqual(referenceEncode(scored, story));
      expect(tokenizer.encode("Once upon a time", { addSpecialTokens: true })).toEqual([
        1, 403, 407, 261, 378,
      ]);
      fc.assert(
        fc.property(fc.oneof(fc.string(), letters), (text) => {
          fc.pre(!/<s>|<\/s>|<unk>/.test(text));
          const tokens = tokenizer.encode(text);
          expect(tokens).toEqual(referenceEncode(scored, text));
          expect(tokenizer.decode(tokens)).toBe(text);
        }),
        { seed: 2, numRuns: 300 },
      );
    },
  );

  it("says where a file ends too early or too late", () => {
    const pieces = vocabulary(WORDS);
    const path = join(directory, "broken.bin");
    const bytes = tokenizerBin(pieces);
    writeFileSync(path, bytes.subarray(0, 10));
    expect(() => llama2cTokenizer(path, pieces.length)).toThrow(
      `Cannot read llama2.c tokenizer ${path} at byte 4: token 0 of 276 is beyond the end of the file, expected 276 tokens`,
    );
    writeFileSync(path, bytes);
    expect(() => llama2cTokenizer(path, 275)).toThrow(
      "19 bytes follow token 274, expected the end of the file",
    );
    bytes.writeInt32LE(-5, 8);
    writeFileSync(path, bytes);
    expect(() => llama2cTokenizer(path, pieces.length)).toThrow("at byte 4: token 0 of 276 has length -5");
  });
});

describe("ggufTokenizer()", () => {
  const small = JSON.parse(readFileSync(join(golden, "small/tokenizer.json"), "utf8")) as {
    model: { vocab: Record<string, number>; merges: string[][] };
  };
  const tokens = Object.keys(small.model.vocab).sort((a, b) => small.model.vocab[a]! - small.model.vocab[b]!);
  const gpt2 = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.tokens": tokens,
    "tokenizer.ggml.token_type": Int32Array.from(tokens, (_, id) => (id < 3 ? 3 : 1)),
    "tokenizer.ggml.merges": small.model.merges.map((pair) => pair.join(" ")),
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.chat_template": "{{ messages }}",
  };
  const strings = JSON.parse(readFileSync(join(golden, "strings.json"), "utf8")) as string[];

  it("makes the byte-level tokenizer that the metadata came from", () => {
    const { tokenizerJson, tokenizerConfig } = ggufTokenizer({ ...gpt2, "tokenizer.ggml.pre": "gpt-2" });
    expect(tokenizerJson).toEqual(small);
    expect(tokenizerConfig).toMatchObject({ eos_token: "<|im_end|>", chat_template: "{{ messages }}" });
  });

  // The same words by another road: variants.json holds the stages as model files have them.
  const variants = JSON.parse(readFileSync(join(golden, "variants.json"), "utf8")) as {
    name: string;
    patch: Record<string, unknown>;
  }[];
  it.each([
    ["llama-bpe", "llama-3 words"],
    ["tekken", "tekken words"],
    ["smollm", "digits one by one"],
    ["deepseek-coder", "deepseek-coder words"],
  ])("splits words for %s as the model's own files do", (pre, variant) => {
    const { patch } = variants.find(({ name }) => name === variant)!;
    const { tokenizerJson } = ggufTokenizer({ ...gpt2, "tokenizer.ggml.pre": pre });
    const ours = createTokenizer({
      ...tokenizerJson,
      model: { ...tokenizerJson.model, ignore_merges: false },
    });
    const theirs = createTokenizer({ ...small, ...patch });
    for (const text of strings) expect(ours.encode(text)).toEqual(theirs.encode(text));
  });

  it("compiles every word pattern that it knows", () => {
    for (const pre of Object.keys(GGUF_WORD_SPLITS)) {
      const tokenizer = createTokenizer(ggufTokenizer({ ...gpt2, "tokenizer.ggml.pre": pre }).tokenizerJson);
      expect(tokenizer.decode(tokenizer.encode("It's 1234 — déjà vu, 東京!\n"))).toBe(
        "It's 1234 — déjà vu, 東京!\n",
      );
    }
  });

  it("merges SentencePiece vocabularies by score, with BOS", () => {
    const words = WORDS.map((word) => word.replaceAll(" ", "\u2581"));
    const pieces = vocabulary([...new Set(words)]).map((piece, id) => ({
      ...piece,
      text: ["<unk>", "<s>", "</s>"][id] ?? piece.text,
    }));
    const { tokenizerJson, tokenizerConfig } = ggufTokenizer({
      "tokenizer.ggml.model": "llama",
      "tokenizer.ggml.tokens": pieces.map(({ text }) => text),
      "tokenizer.ggml.scores": pieces.map(({ score }) => score),
      "tokenizer.ggml.token_type": pieces.map((_, id) => (id === 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1)),
      "tokenizer.ggml.bos_token_id": 1,
      "tokenizer.ggml.eos_token_id": 2,
    });
    const tokenizer = createTokenizer(tokenizerJson, tokenizerConfig);
    const spaced = pieces.map(({ text, score }) => ({ text: text.replaceAll("\u2581", " "), score }));
    fc.assert(
      fc.property(letters, (text) => {
        fc.pre(!text.includes("\u2581"));
        expect(tokenizer.encode(text)).toEqual(referenceEncode(spaced, text));
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
      }),
      { seed: 3, numRuns: 300 },
    );
    expect(tokenizer.encode("a", { addSpecialTokens: true })[0]).toBe(1);
  });

  it("names what is wrong with the metadata", () => {
    expect(() => ggufTokenizer({ ...gpt2, "tokenizer.ggml.model": "bert" })).toThrow(
      'Cannot read the tokenizer of the GGUF file: model is the string "bert", expected "gpt2" or "llama"',
    );
    expect(() => ggufTokenizer({ ...gpt2, "tokenizer.ggml.pre": "new-words" })).toThrow(
      'pre is the string "new-words", expected one of default, gpt-2',
    );
    expect(() => ggufTokenizer({ ...gpt2, "tokenizer.ggml.token_type": [1] })).toThrow(
      '"tokenizer.ggml.token_type" has 1 numbers, expected 1000, one per token',
    );
  });
});
