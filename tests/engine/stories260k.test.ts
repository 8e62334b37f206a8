/** A real model: stories260K, converted from llama2.c's files and decoded greedily, tells the published story. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { TrainingEngine } from "../../src/engine/index.js";
import { readLlama2c, writeHuggingFaceFolder } from "../../src/nn/index.js";
import { createTokenizer, llama2cTokenizer } from "../../src/text/index.js";
import { temporaryFolder } from "./tiny-models.js";

const data = join(
  process.env["HONE_DATA"] ?? join(import.meta.dirname, "../../../shared/data"),
  "stories260k",
);
const folder = temporaryFolder();
const BOS = 1;

it.skipIf(!existsSync(data))(
  `stories260K decoded greedily gives the published text (skipped without ${data})`,
  async () => {
    const page = readFileSync(join(data, "stories260K.md"), "utf8");
    const published = /-t 0\.0\n([\s\S]+?)\n```/.exec(page)![1]!;
    expect(published.split("\n")).toHaveLength(4);
    const model = readLlama2c(join(data, "stories260K.bin"));
    writeHuggingFaceFolder(folder, model);
    model.close();
    const { tokenizerJson, tokenizerConfig } = llama2cTokenizer(join(data, "tok512.bin"), 512);
    const tokenizer = createTokenizer(tokenizerJson, tokenizerConfig);

    const engine = await TrainingEngine.create({ model: folder });
    const tokens = [BOS];
    // llama2.c's run.c stops after 256 tokens.
    while (tokens.length <= 256) {
      const logits = await engine.nextLogits(tokens);
      const next = logits.indexOf(Math.max(...logits));
      if (next === BOS) break;
      tokens.push(next);
    }
    await engine.close();
    const told = tokenizer.decode(tokens.slice(1)).trimStart();
    expect(told.startsWith(published)).toBe(true);
    expect(told.length - published.length).toBeLessThan(20);
  },
);
