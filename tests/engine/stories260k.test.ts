/** A real model: stories260K, converted from llama2.c's files and decoded greedily, tells the published story. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openSampler } from "../../src/engine/index.js";
import { readLlama2c, writeHuggingFaceFolder } from "../../src/nn/index.js";
import { SamplingParams } from "../../src/protocol/index.js";
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

    for (const runtime of ["native", "cpu"] as const) {
      const { engine } = await openSampler({ model: folder, runtime });
      // llama2.c's run.c stops after 256 tokens.
      const params = SamplingParams.parse({ temperature: 0, maxTokens: 256, stop: [BOS] });
      const request = { prompt_T: [BOS], params, numSamples: 1, promptLogprobs: false, adapter: null };
      const { sequences } = await engine.sample(request);
      await engine.close();
      const told = tokenizer.decode(sequences[0]!.tokens.filter((token) => token !== BOS)).trimStart();
      expect(told.startsWith(published)).toBe(true);
      expect(told.length - published.length).toBeLessThan(20);
    }
  },
);
