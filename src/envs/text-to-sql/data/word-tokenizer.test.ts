import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, it } from "vitest";
import { createTokenizer, trainedTokenizerConfig } from "../../../text/index.js";
import { writeOwnDatabases } from "./own-databases.js";
import { loadTextToSqlData } from "./spider.js";
import { formatCompletion, formatPrompt } from "./text-form.js";
import { trainWordTokenizer } from "./word-tokenizer.js";

it("trainWordTokenizer() makes each word one token and spells others in bytes", async () => {
  const json = await trainWordTokenizer(["how many dogs => select count ( * )", "how many => dogs dogs"], {
    minFrequency: 2,
  });
  const tokenizer = createTokenizer(json, trainedTokenizerConfig());
  expect(tokenizer.encode("how many dogs =>").map((id) => tokenizer.tokenString(id))).toEqual([
    "how",
    "Ġmany",
    "Ġdogs",
    "Ġ=>",
  ]);
  // "cats" was never seen: a space and four letters.
  expect(tokenizer.encode(" cats")).toHaveLength(5);
  expect(tokenizer.vocabSize).toBe(3 + 256 + 4);
});

it("trainWordTokenizer() loses nothing", async () => {
  const tokenizer = createTokenizer(await trainWordTokenizer(["a b c a b"]), trainedTokenizerConfig());
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), (text) => {
      expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
    }),
  );
});

it("trainWordTokenizer() knows nearly every word of the own databases with a few hundred tokens", async () => {
  const folder = mkdtempSync(join(tmpdir(), "hone-words-"));
  try {
    writeOwnDatabases(folder, 3, { fillings: 0 });
    const { splits } = loadTextToSqlData(folder);
    const text = ({ database, question, sql }: (typeof splits.sft)[number]) =>
      formatPrompt({ database, question }) + formatCompletion(sql);
    const tokenizer = createTokenizer(
      await trainWordTokenizer([...splits.sft, ...splits.rl].map(text)),
      trainedTokenizerConfig(),
    );
    expect(tokenizer.vocabSize - 259).toBeGreaterThan(250);
    expect(tokenizer.vocabSize - 259).toBeLessThan(450);
    const words = splits.test.flatMap((example) => text(example).split(" "));
    const tokens = splits.test.flatMap((example) => tokenizer.encode(text(example)));
    // Few words fall apart into bytes.
    expect(tokens.length / words.length).toBeLessThan(1.02);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
