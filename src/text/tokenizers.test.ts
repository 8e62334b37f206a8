/** Parity with the Python `tokenizers` library: ids and texts of tools/golden/text_tokenizers.py. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, it } from "vitest";
import { trainByteLevelBpe } from "./bpe-trainer.js";
import { createTokenizer } from "./create-tokenizer.js";
import type { TextTokenizer } from "./tokenizer.js";
import { loadTokenizer } from "./tokenizer-files.js";

const golden = resolve(import.meta.dirname, "../../tests/golden/tokenizers");
const data = process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../shared/data");
// The files are written by our own script; the types say what it writes.
const read = (name: string): unknown => JSON.parse(readFileSync(join(golden, name), "utf8"));
const strings = read("strings.json") as string[];
const ids = read("ids.json") as Record<string, GoldenIds>;
const decodes = read("decodes.json") as Record<string, [number[], string, string?][]>;
const variants = read("variants.json") as { name: string; base: string; patch: Record<string, unknown> }[];

interface GoldenIds {
  readonly hashes: string;
  readonly withSpecialTokens: string;
  readonly full?: Record<string, number[]>;
  readonly vocabSize: number;
}

const hashIds = (tokens: readonly number[]): string =>
  createHash("sha256").update(tokens.join(",")).digest("hex").slice(0, 8);

/** What differs, by string; empty when nothing does. */
function differences(
  hashes: string,
  texts: readonly string[],
  encode: (text: string) => readonly number[],
): { index: number; text: string; tokens: readonly number[] }[] {
  expect(hashes.length).toBe(texts.length * 8);
  return texts.flatMap((text, index) => {
    const tokens = encode(text);
    return hashIds(tokens) === hashes.slice(index * 8, index * 8 + 8) ? [] : [{ index, text, tokens }];
  });
}

function expectParity(name: string, tokenizer: TextTokenizer, texts: readonly string[]): void {
  const expected = ids[name]!;
  for (const [index, tokens] of Object.entries(expected.full ?? {})) {
    expect(tokenizer.encode(strings[Number(index)]!)).toEqual(tokens);
  }
  expect(differences(expected.hashes, texts, (text) => tokenizer.encode(text))).toEqual([]);
  const first = texts.slice(0, 200);
  expect(
    differences(expected.withSpecialTokens, first, (text) =>
      tokenizer.encode(text, { addSpecialTokens: true }),
    ),
  ).toEqual([]);
  expect(tokenizer.vocabSize).toBe(expected.vocabSize);
  for (const [tokens, text, withoutSpecial = text] of decodes[name]!) {
    expect([tokens, tokenizer.decode(tokens)]).toEqual([tokens, text]);
    expect([tokens, tokenizer.decode(tokens, { skipSpecialTokens: true })]).toEqual([tokens, withoutSpecial]);
  }
}

describe("encode() and decode() agree with the Python library", () => {
  for (const name of ["small", "bytes"]) {
    it(`on 2,000 strings with the committed tokenizer "${name}"`, () => {
      expect(strings.length).toBe(2000);
      expectParity(name, loadTokenizer(join(golden, name)), strings);
    });
  }

  for (const name of ["gpt2", "smollm2-135m", "qwen2"]) {
    const directory = join(data, "tokenizers", name);
    const isAbsent = !existsSync(directory);
    it.skipIf(isAbsent)(
      `on 2,000 strings with ${name}${isAbsent ? ` (skipped: ${directory} is absent)` : ""}`,
      () => expectParity(name, loadTokenizer(directory), strings),
    );
  }

  const few = strings.filter((_, i) => i % 2 === 0);
  for (const { name, base, patch } of variants) {
    it(`with ${name}`, () => {
      const json = read(`${base}/tokenizer.json`) as Record<string, Record<string, unknown>>;
      for (const [path, value] of Object.entries(patch)) {
        const [field, inner] = path.split(".") as [string, string?];
        if (inner === undefined) json[field] = value as Record<string, unknown>;
        else json[field]![inner] = value;
      }
      expectParity(name, createTokenizer(json), few);
    });
  }
});

describe("trainByteLevelBpe()", () => {
  it("makes of the 2,000 strings what Python's BpeTrainer made of them", async () => {
    const trained = await trainByteLevelBpe(strings, {
      vocabSize: 1000,
      specialTokens: ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    });
    expect(trained).toEqual(read("small/tokenizer.json"));
  });
});
