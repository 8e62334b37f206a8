/** Loading and writing tokenizers, offsets, single tokens made visible, and what is said about broken files. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { trainByteLevelBpe } from "./bpe-trainer.js";
import { createChatRenderer } from "./chat-renderer.js";
import { createTokenizer } from "./create-tokenizer.js";
import { describeToken } from "./describe-token.js";
import { checkFits } from "./fits.js";
import { loadTokenizer } from "./tokenizer-files.js";
import { CHAT_SPECIAL_TOKENS, trainedTokenizerConfig, writeTokenizer } from "./write-tokenizer.js";

const golden = resolve(import.meta.dirname, "../../tests/golden/tokenizers");
const root = mkdtempSync(join(tmpdir(), "hone-text-"));
afterAll(() => rmSync(root, { recursive: true }));

const small = loadTokenizer(join(golden, "small"));
const bytes = loadTokenizer(join(golden, "bytes"));
const readSmall = () =>
  JSON.parse(readFileSync(join(golden, "small/tokenizer.json"), "utf8")) as Record<string, unknown>;

function directoryWith(name: string, files: Readonly<Record<string, string>>): string {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(directory, file), text);
  return directory;
}

/** Text with what tokenizers trip over: several scripts, marks that compose, white space, special tokens. */
const texts = fc.string({
  unit: fc.constantFrom(
    "a",
    "the",
    " ",
    "\n",
    "é",
    "e\u0301",
    "\u1112\u1161\u11ab",
    "漢",
    "😀",
    "12",
    "<|im_end|>",
    "\u00a0",
    "'s",
  ),
  maxLength: 30,
});

describe("loadTokenizer()", () => {
  it("reads special tokens and ids that end a text from the files around tokenizer.json", () => {
    const directory = directoryWith("whole", {
      "tokenizer.json": JSON.stringify(readSmall()),
      "tokenizer_config.json": JSON.stringify({
        bos_token: null,
        eos_token: { content: "<|im_end|>" },
        added_tokens_decoder: { 1000: { content: "<tool>", special: true } },
      }),
      "special_tokens_map.json": JSON.stringify({ pad_token: "<|endoftext|>" }),
      "config.json": JSON.stringify({ eos_token_id: 2 }),
      "generation_config.json": JSON.stringify({ eos_token_id: [2, 0] }),
    });
    const tokenizer = loadTokenizer(directory);
    expect(tokenizer).toMatchObject({ eosId: 2, padId: 0, eosIds: [2, 0], vocabSize: 1001 });
    expect(tokenizer.bosId).toBeUndefined();
    expect(tokenizer.specialTokens).toEqual({ eos_token: "<|im_end|>", pad_token: "<|endoftext|>" });
    expect(tokenizer.encode("<tool>")).toEqual([1000]);
  });

  it("gives the same hash for the same files and another for others", () => {
    expect(loadTokenizer(join(golden, "small")).hash).toBe(small.hash);
    expect(small.hash).toMatch(/^[0-9a-f]{64}$/);
    expect(bytes.hash).not.toBe(small.hash);
    const config = directoryWith("hash", {
      "tokenizer.json": readFileSync(join(golden, "small/tokenizer.json"), "utf8"),
      "config.json": "{}",
    });
    expect(loadTokenizer(config).hash).toBe(small.hash);
  });

  it("reads GPT-2's two files under both pairs of names", () => {
    const { vocab, merges } = readSmall()["model"] as { vocab: Record<string, number>; merges: string[][] };
    const lines = `#version: 0.2\n${merges.map((pair) => pair.join(" ")).join("\n")}\n`;
    for (const [vocabName, mergesName] of [
      ["encoder.json", "vocab.bpe"],
      ["vocab.json", "merges.txt"],
    ] as const) {
      const tokenizer = loadTokenizer(
        directoryWith(vocabName, { [vocabName]: JSON.stringify(vocab), [mergesName]: lines }),
      );
      expect(tokenizer).toMatchObject({ bosId: 0, eosId: 0 });
      expect(tokenizer.encode("the café<|endoftext|>")).toEqual(small.encode("the café<|endoftext|>"));
    }
  });

  it("says what is wrong with a file and where it is", () => {
    const missing = join(root, "missing");
    expect(() => loadTokenizer(missing)).toThrow(
      `Cannot load tokenizer ${missing}: there is no such directory, expected one with tokenizer.json`,
    );
    const none = directoryWith("none", { "encoder.json": "{}" });
    expect(() => loadTokenizer(none)).toThrow(
      `Cannot load tokenizer ${none}: it has encoder.json but no vocab.bpe or merges.txt`,
    );
    const cut = directoryWith("cut", { "tokenizer.json": '{"model": {"type": "BPE", "vo' });
    expect(() => loadTokenizer(cut)).toThrow(`Cannot read ${join(cut, "tokenizer.json")}: it is not JSON (`);
    const lines = directoryWith("lines", {
      "encoder.json": '{"a": 0}',
      "vocab.bpe": "#version: 0.2\na b c\n",
    });
    expect(() => loadTokenizer(lines)).toThrow(
      `Cannot read merges ${join(lines, "vocab.bpe")}:2: line is "a b c", expected two tokens with a space between`,
    );
  });

  it.each([
    [
      { model: { type: "BPE", vocab: { a: -1 }, merges: [] } },
      'token "a" has id the number -1, expected a whole number >= 0',
    ],
    [
      { model: { type: "BPE", vocab: { a: 0 }, merges: ["a b"] } },
      'merge 0 ("a", "b") names "b", expected a token of the vocabulary',
    ],
    [{ model: { type: "BPE", vocab: { a: 0 }, merges: [["a"]] } }, "merge 0 is a list, expected two tokens"],
    [{ model: { type: "Magic", vocab: {} } }, 'model is "Magic" on bytes, expected BPE'],
    [{ model: null }, 'it has no "model", expected an object with "type" and "vocab"'],
    [{ normalizer: { type: "Rot13" } }, 'normalizer "Rot13" is unknown, expected NFC'],
    [
      { pre_tokenizer: { type: "Split", pattern: { Regex: "(" }, behavior: "Isolated" } },
      'pattern "(" does not compile',
    ],
    [{ added_tokens: [{ id: 1e9, content: "x" }] }, 'has no usable "id" and "content"'],
  ])("refuses %j", (patch, message) => {
    expect(() => createTokenizer({ ...readSmall(), ...patch })).toThrow(message);
  });
});

describe("encodeWithOffsets()", () => {
  it("covers a byte-level text without gaps, and any text in order", () => {
    fc.assert(
      fc.property(texts, (text) => {
        const { tokens_T, starts_T, ends_T } = small.encodeWithOffsets(text);
        expect(tokens_T).toEqual(small.encode(text));
        let done = 0;
        tokens_T.forEach((_, t) => {
          // Tokens of one character's bytes all cover that character.
          expect(starts_T[t]!).toBeLessThanOrEqual(done);
          expect(ends_T[t]!).toBeGreaterThanOrEqual(done);
          done = ends_T[t]!;
        });
        expect(done).toBe(text.length);
      }),
      { seed: 4, numRuns: 300 },
    );
  });

  it("points back to the text before NFC joined its characters", () => {
    const nfc = createTokenizer({ ...readSmall(), normalizer: { type: "NFC" } });
    const text = "ab e\u0301\u0302 c \u1112\u1161\u11ab d";
    const { tokens_T, starts_T, ends_T } = nfc.encodeWithOffsets(text);
    expect(tokens_T).toEqual(nfc.encode(text));
    tokens_T.forEach((id, t) => {
      const covered = text.slice(starts_T[t], ends_T[t]).normalize("NFC");
      const own = new TextDecoder().decode(nfc.tokenBytes(id));
      // A token that is part of what was joined covers all of it.
      if (!own.includes("\ufffd")) expect(covered).toContain(own);
      expect(covered.length).toBeLessThanOrEqual(4);
    });
    expect(ends_T.at(-1)).toBe(text.length);
  });

  it("gives an inserted space no extent", () => {
    const { starts_T, ends_T } = bytes.encodeWithOffsets("name");
    expect([starts_T[0], ends_T.at(-1)]).toEqual([0, 4]);
    expect(bytes.encodeWithOffsets("").tokens_T).toEqual([]);
  });
});

describe("describeToken()", () => {
  it("makes line breaks, odd spaces, parts of characters and unknown ids visible", () => {
    const shown = (text: string) =>
      small
        .encode(text)
        .map((id) => describeToken(small, id))
        .join("|");
    expect(shown("\n")).toBe("\\n");
    expect(shown(" the")).toBe(" the");
    expect(shown("\u00a0")).toBe("\\u{A0}");
    expect(shown("<|im_end|>")).toBe("<|im_end|>");
    expect(shown("\u{1F9FF}").replaceAll("|", "")).toBe("\\xF0\\x9F\\xA7\\xBF");
    expect(describeToken(small, 5000)).toBe("<?5000>");
    expect(describeToken(bytes, bytes.tokenId("<0x0A>")!)).toBe("\\n");
    expect(describeToken(bytes, bytes.tokenId("<0xE2>")!)).toBe("\\xE2");
  });
});

describe("checkFits()", () => {
  it("refuses a tokenizer with ids beyond the embedding", () => {
    expect(() => checkFits(small, "m", 1000)).not.toThrow();
    expect(() => checkFits(small, "m", 999)).toThrow(
      "Cannot use tokenizer of m with its model: its largest id is 999 but the embedding has 999 rows, expected at least 1000",
    );
  });
});

describe("writeTokenizer()", () => {
  it("writes what loadTokenizer and createChatRenderer read back", async () => {
    const trained = await trainByteLevelBpe(["the cat sat on the mat", "the dog sat"], {
      vocabSize: 263,
      specialTokens: CHAT_SPECIAL_TOKENS,
    });
    const directory = join(root, "trained");
    writeTokenizer(directory, { tokenizerJson: trained, tokenizerConfig: trainedTokenizerConfig() });
    const tokenizer = loadTokenizer(directory);
    expect(tokenizer).toMatchObject({ eosId: 2, padId: 0, vocabSize: 263 });
    const { tokens_T, spans } = createChatRenderer(directory).render([
      { role: "user", content: "the cat" },
      { role: "assistant", content: "sat" },
    ]);
    expect(tokenizer.decode(tokens_T)).toBe(
      "<|im_start|>user\nthe cat<|im_end|>\n<|im_start|>assistant\nsat<|im_end|>\n",
    );
    const sampled = spans.filter(({ source }) => source === "sampled");
    expect(sampled.map(({ start, end }) => tokenizer.decode(tokens_T.slice(start, end)))).toEqual([
      "sat<|im_end|>",
    ]);
  });

  it("stops where no pair is frequent enough, and refuses impossible sizes", async () => {
    const trained = await trainByteLevelBpe(["ab ab cd"], { vocabSize: 300, specialTokens: [] });
    expect(trained.model["merges"]).toEqual([["a", "b"]]);
    await expect(trainByteLevelBpe(["a"], { vocabSize: 256 })).rejects.toThrow(
      "Cannot train tokenizer: vocabSize is 256, expected a whole number from 257 (1 special tokens and 256 bytes) to 2097152",
    );
    await expect(trainByteLevelBpe([], { vocabSize: 300 })).rejects.toThrow("the texts hold no words");
  });
});

describe("decode(encode(text))", () => {
  it("is the text for byte-level tokenizers", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(small.decode(small.encode(text))).toBe(text);
      }),
      { seed: 5, numRuns: 500 },
    );
  });

  it("merges long words as it merges short ones", () => {
    // The heap takes over from 48 symbols on; both must find the same merges.
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom("t", "h", "e", "i", "n", "g", "a"), { minLength: 40, maxLength: 120 }),
        (letters) => {
          const word = letters.join("");
          expect(small.encode(word)).toEqual(referenceMerge(word));
        },
      ),
      { seed: 6, numRuns: 200 },
    );
  });
});

/** BPE by definition: the pair of lowest rank, leftmost first, one at a time. */
function referenceMerge(word: string): number[] {
  const { vocab, merges } = readSmallModel();
  const ranks = new Map(merges.map((pair, rank) => [pair.join(" "), rank]));
  const symbols = Array.from(word);
  for (;;) {
    let best = { rank: Number.POSITIVE_INFINITY, at: -1 };
    for (let at = 0; at + 1 < symbols.length; at++) {
      const rank = ranks.get(`${symbols[at]} ${symbols[at + 1]}`) ?? Number.POSITIVE_INFINITY;
      if (rank < best.rank) best = { rank, at };
    }
    if (best.at < 0) return symbols.map((symbol) => vocab[symbol]!);
    symbols.splice(best.at, 2, symbols[best.at]! + symbols[best.at + 1]!);
  }
}

function readSmallModel(): { vocab: Record<string, number>; merges: string[][] } {
  return readSmall()["model"] as { vocab: Record<string, number>; merges: string[][] };
}
