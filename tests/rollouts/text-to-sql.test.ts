/**
 * The text-to-SQL environment acted in by a real model: a tiny one of random weights, sampled by the engine. What comes
 * out is repeatable, and is what the model gives when it is asked for the same tokens alone.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import Sqlite from "libsql";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createRuntime, openSampler } from "../../src/engine/index.js";
import { createTextToSql, type EnvSet, loadDatabases } from "../../src/envs/index.js";
import {
  modelInputFromTokens,
  type SamplingClient,
  SamplingParams,
  tokensOf,
} from "../../src/protocol/index.js";
import {
  type CollectOptions,
  collectGroups,
  createChatFormat,
  createPlainFormat,
  rolloutRecord,
  type TrajectoryGroup,
} from "../../src/rollouts/index.js";
import { openRunStore } from "../../src/runs/index.js";
import {
  CHAT_SPECIAL_TOKENS,
  CHATML_TEMPLATE,
  createChatRenderer,
  createTokenizer,
  type TextTokenizer,
  trainByteLevelBpe,
} from "../../src/text/index.js";

const folder = mkdtempSync(join(tmpdir(), "hone-rollouts-"));
let tokenizer: TextTokenizer;
let client: SamplingClient;
let isNative: boolean;
let set: EnvSet;

beforeAll(async () => {
  const path = join(folder, "database", "pets", "pets.sqlite");
  mkdirSync(dirname(path), { recursive: true });
  const file = new Sqlite(path);
  file.exec("CREATE TABLE pet (id INTEGER, kind TEXT); INSERT INTO pet VALUES (1, 'dog'), (2, 'cat')");
  file.close();
  const tags = { hardness: "easy" as const };
  set = createTextToSql(
    { sampleRows: 0, corrections: 1, workers: 1 },
    {
      databases: loadDatabases(folder),
      examples: [
        { id: "count", question: "How many pets?", sql: "SELECT count(*) FROM pet", database: "pets", tags },
        { id: "kinds", question: "Which kinds?", sql: "SELECT kind FROM pet", database: "pets", tags },
      ],
    },
  );
  const words = ["select count from pet where kind answer with one statement"];
  const json = await trainByteLevelBpe(words, { vocabSize: 259, specialTokens: CHAT_SPECIAL_TOKENS });
  tokenizer = createTokenizer(json, { eos_token: "<|im_end|>" });
  const { engine } = await openSampler({
    threads: 1,
    model: {
      seed: 3,
      config: {
        model_type: "llama",
        vocab_size: tokenizer.vocabSize,
        hidden_size: 32,
        intermediate_size: 64,
        num_hidden_layers: 1,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        max_position_embeddings: 1024,
        rms_norm_eps: 1e-5,
        tie_word_embeddings: false,
        initializer_range: 0.3,
      },
    },
  });
  isNative = (await createRuntime()).lowering === "native";
  client = {
    sample: (prompt, params, { numSamples = 1, promptLogprobs = false } = {}) =>
      engine.sample({
        prompt_T: tokensOf(prompt),
        params,
        numSamples,
        promptLogprobs,
        adapter: null,
      }),
    close: () => engine.close(),
  };
});
afterAll(async () => {
  await client.close();
  await set.close();
  rmSync(folder, { recursive: true });
});

const collect = (format: CollectOptions["format"], options: Partial<CollectOptions> = {}) =>
  collectGroups({
    client,
    format,
    set,
    tasks: set.tasks,
    params: { temperature: 1, maxTokens: 5 },
    groupSize: 2,
    seed: 5,
    step: 1,
    ...options,
  });

const formats: [string, () => CollectOptions["format"]][] = [
  ["plain", () => createPlainFormat(tokenizer)],
  ["chat", () => createChatFormat(createChatRenderer({ template: CHATML_TEMPLATE, tokenizer }), tokenizer)],
];

describe.each(formats)("in %s form", (_, createFormat) => {
  it("the same seeds give the same rollouts, whatever else is under way", async () => {
    const groups = await collect(createFormat());
    const apart = await collect(createFormat(), { concurrency: 1 });
    const [alone] = await collect(createFormat(), { tasks: [set.tasks[1]!] });
    const drawn = ({ trajectories }: TrajectoryGroup) => trajectories.map(({ tokens_T }) => tokens_T);
    expect(apart.map(drawn)).toEqual(groups.map(drawn));
    expect(drawn(alone!)).toEqual(drawn(groups[1]!));
    // Own kernels compute a row alike whatever runs beside it; stock ones within rounding.
    if (isNative) expect([...apart, alone]).toEqual([...groups, groups[1]]);
    expect(await collect(createFormat(), { step: 2 })).not.toEqual(groups);
    for (const { trajectories } of groups) {
      const words = trajectories.map(({ turns }) => turns[0]!.text);
      expect(new Set(words).size).toBe(2);
      for (const { turns, reward } of trajectories) {
        // Random letters are no SQL, so the environment asks once more.
        expect(turns).toHaveLength(2);
        expect(reward).toMatchObject({ kind: "value", value: 0 });
      }
    }
  });

  it("logprobs are those of the tokens after all tokens before them, over both turns", async () => {
    const [group] = await collect(createFormat(), { tasks: [set.tasks[0]!], groupSize: 1 });
    const { tokens_T, spans, rawLogprobs_T } = group!.trajectories[0]!;
    const completions = spans.filter(({ source }) => source === "sampled");
    expect(completions).toHaveLength(2);
    // One pass over all tokens, where the rollout came token by token.
    const params = SamplingParams.parse({ maxTokens: 1 });
    const { promptLogprobs } = await client.sample(modelInputFromTokens(tokens_T), params, {
      promptLogprobs: true,
    });
    for (const { start, end } of completions) {
      for (let t = start; t < end; t++) expect(rawLogprobs_T[t]).toBeCloseTo(promptLogprobs![t]!, 4);
    }
  });

  it("go into the run store and come back", async () => {
    const groups = await collect(createFormat());
    const store = openRunStore(mkdtempSync(join(folder, "project-")));
    const run = store.createRun({ method: "grpo", config: {}, seed: 5, versions: {}, dataHashes: {} });
    const records = groups.flatMap(({ trajectories }) =>
      trajectories.map((one) => rolloutRecord(one, { step: 1, tokenizer })),
    );
    run.logRollouts(records);
    const kept = [...run.rollouts()];
    expect(kept.map(({ spans, tokens_T }) => ({ spans, tokens_T }))).toEqual(
      records.map(({ spans, tokens_T }) => ({ spans, tokens_T })),
    );
    expect(kept.map(({ logprobs_T }) => logprobs_T)).toEqual(
      records.map(({ logprobs_T }) => logprobs_T.map(Math.fround)),
    );
    expect(kept[0]!.spans.map(({ text }) => text).join("")).toContain("How many pets?");
    run.close("finished");
    store.close();
  });
});
