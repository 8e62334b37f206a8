/** Reward models: scores and gradients as transformers and TRL give them, files they can read, and what is refused. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { rewardLoss, scoreDatums } from "../../src/algorithms/index.js";
import { createTrainingClient, estimateMemory, TrainingEngine } from "../../src/engine/index.js";
import type { Datum } from "../../src/protocol/index.js";
import { writeShardedSafetensors } from "../../src/tensor/index.js";
import { type GoldenRewardModel, readPreferenceModels } from "../golden/preference.js";
import { readGoldenModel, readGoldenTensors, summaryOf } from "../golden/read.js";
import {
  ADAM,
  editJson,
  largestGap,
  largestRelativeGap,
  TINY_CONFIG,
  takeGradients,
  temporaryFolder,
  writeTinyModel,
} from "./tiny-models.js";

const folder = temporaryFolder();
const fresh = (name: string): string => mkdtempSync(join(folder, `${name}-`));
const { rewardModels } = readPreferenceModels();

/** The folder that transformers' save_pretrained makes of a sequence classification model with one label. */
function writeRewardModel({ model, score }: GoldenRewardModel): string {
  const source = readGoldenModel(model).folder;
  const target = fresh(model);
  const tensors = [...readGoldenTensors(join(source, "model.safetensors"))].filter(
    ([name]) => name !== "lm_head.weight",
  );
  const shape = [1, score.length];
  const all = [...tensors, ["score.weight", { shape, data: Float32Array.from(score) }] as const];
  writeShardedSafetensors(
    target,
    all.map(([name, tensor]) => ({
      name,
      shape: tensor.shape,
      dtype: "F32" as const,
      read: () => Float32Array.from(tensor.data),
    })),
  );
  cpSync(join(source, "config.json"), join(target, "config.json"));
  editJson(join(target, "config.json"), ({ architectures, ...json }) => ({
    ...json,
    architectures: [
      String((architectures as string[])[0]).replace("ForCausalLM", "ForSequenceClassification"),
    ],
    id2label: { 0: "LABEL_0" },
  }));
  return target;
}

/** Pairs whose answers begin after the common 9 tokens; chosen, rejected, chosen, rejected. */
const pairsOf = ({ sequences, margins }: GoldenRewardModel) =>
  margins.map((margin, i) => ({
    chosen: answer(sequences[i]!),
    rejected: answer(sequences[2 + i]!),
    margin,
  }));
const answer = (tokens_T: readonly number[], prompt = 9) => ({
  tokens_T,
  lossMask_T: tokens_T.map((_, t) => Number(t >= prompt)),
});

const tiny = (lengths: readonly number[]): Datum[] =>
  scoreDatums(
    Array.from({ length: lengths.length / 2 }, (_, pair) => ({
      chosen: answer(
        Array.from({ length: lengths[2 * pair]! }, (_, t) => (t < 20 ? t : (7 * t + pair) % 40)),
        1,
      ),
      rejected: answer(
        Array.from({ length: lengths[2 * pair + 1]! }, (_, t) => (t < 20 ? t : (11 * t) % 40)),
        1,
      ),
      margin: 0.25 * pair,
    })),
  );

describe.each(rewardModels.map((golden) => [golden.model, golden] as const))("%s", (_name, golden) => {
  const model = writeRewardModel(golden);
  const { lossFn, lossFnConfig } = rewardLoss({ centerRewardsCoefficient: golden.centerRewardsCoefficient });

  it.each(["native", "cpu"] as const)(
    "scores are transformers' logits at the last token, with %s operators",
    async (runtime) => {
      const engine = await TrainingEngine.create({ model, rewardHead: "stored", runtime });
      const sequences = golden.sequences.map((tokens) => ({ tokens }));
      expect(largestGap(await engine.scores(sequences), golden.logits)).toBeLessThan(1e-5);
      // What stands behind the token, padding or not, changes nothing.
      const padded = golden.sequences.map((tokens) => ({
        tokens: [...tokens, 0, 0, 0],
        at: tokens.length - 1,
      }));
      expect(largestGap(await engine.scores(padded), golden.logits)).toBeLessThan(1e-5);
      await engine.close();
    },
  );

  it.each([
    ["native", 4096],
    ["native", 16],
    ["cpu", 4096],
    ["cpu", 16],
  ] as const)(
    "loss and gradients are TRL's with %s operators and micro-batches of %i tokens",
    async (runtime, microBatchTokens) => {
      const engine = await TrainingEngine.create({ model, runtime, microBatchTokens });
      const { metrics, lossFnOutputs } = await engine.forwardBackward(scoreDatums(pairsOf(golden)), lossFn, {
        lossFnConfig,
      });
      expect(Math.abs(metrics["loss:sum"]! - golden.loss)).toBeLessThan(1e-5);
      const scores = lossFnOutputs.map(({ scores }) => scores!.data.at(-1)!);
      expect(
        largestGap(
          scores,
          [0, 2, 1, 3].map((i) => golden.logits[i]!),
        ),
      ).toBeLessThan(1e-5);
      const actual = takeGradients(engine, fresh("gradients")).gradients;
      await engine.close();
      expect([...actual.keys()].sort()).toEqual(Object.keys(golden.gradients).sort());
      for (const [parameter, expected] of Object.entries(golden.gradients)) {
        const summary = summaryOf(expected.shape, actual.get(parameter)!.data);
        const tolerance = 2e-5 * expected.norm + 1e-7;
        expect(Math.abs(summary.norm - expected.norm), parameter).toBeLessThan(tolerance);
        expect(Math.abs(summary.projection - expected.projection), parameter).toBeLessThan(tolerance);
        expect(largestGap(summary.values, expected.values), parameter).toBeLessThan(tolerance);
      }
    },
  );
});

describe("a fresh head", () => {
  const lora = { rank: 4, alpha: 8 };

  it.each([
    ["all weights", {}],
    ["an adapter", { lora }],
    ["an adapter on 4-bit weights", { lora, quantise: {} }],
  ] as const)(
    "with %s learns to tell two answers apart, is saved whole, and is read back",
    async (_title, given) => {
      const model = await writeTinyModel(fresh("base"));
      const engine = await TrainingEngine.create({ model, rewardHead: "fresh", seed: 5, ...given });
      const data = tiny([24, 26, 22, 25]);
      const losses: number[] = [];
      for (let step = 0; step < 12; step++) {
        losses.push((await engine.forwardBackward(data, "bradley_terry")).metrics["loss:sum"]!);
        engine.optimStep(ADAM);
      }
      expect(losses.at(-1)).toBeLessThan(0.5 * losses[0]!);
      const sequences = data.map(({ modelInput }) => ({ tokens: modelInput.chunks[0]!.tokens }));
      const scores = await engine.scores(sequences);
      const saved = fresh("saved");
      engine.saveState(saved);
      await engine.close();

      const isAdapter = "lora" in given;
      const quantise = "quantise" in given ? { quantise: {} } : {};
      const again = await TrainingEngine.create(
        isAdapter
          ? { model, adapter: saved, rewardHead: "stored", ...quantise }
          : { model: saved, rewardHead: "stored" },
      );
      expect(await again.scores(sequences)).toEqual(scores);
      again.loadState(saved);
      expect(await again.scores(sequences)).toEqual(scores);
      await again.close();

      const json = JSON.parse(
        readFileSync(join(saved, isAdapter ? "adapter_config.json" : "config.json"), "utf8"),
      );
      if (isAdapter)
        expect(json).toMatchObject({ task_type: "SEQ_CLS", modules_to_save: ["classifier", "score"] });
      else
        expect(json).toMatchObject({
          architectures: ["LlamaForSequenceClassification"],
          id2label: { "0": "LABEL_0" },
        });
      const file = isAdapter ? "adapter_model.safetensors" : "model.safetensors";
      const names = [...readGoldenTensors(join(saved, file)).keys()];
      expect(names).toContain(isAdapter ? "base_model.model.score.weight" : "score.weight");
      expect(names.some((name) => name.includes("lm_head"))).toBe(false);
    },
  );

  it("goes on as if it had not been interrupted, bit for bit", async () => {
    const model = { config: TINY_CONFIG, seed: 2 };
    const data = tiny([24, 26, 22, 25]);
    const step = async (engine: TrainingEngine): Promise<number> => {
      const { metrics } = await engine.forwardBackward(data, "bradley_terry");
      engine.optimStep(ADAM);
      return metrics["loss:sum"]!;
    };
    const whole = await TrainingEngine.create({ model, lora, rewardHead: "fresh" });
    const losses = [await step(whole), await step(whole), await step(whole), await step(whole)];
    await whole.close();
    const first = await TrainingEngine.create({ model, lora, rewardHead: "fresh" });
    await step(first);
    await step(first);
    const saved = fresh("interrupted");
    first.saveState(saved);
    await first.close();
    const second = await TrainingEngine.create({ model, adapter: saved });
    second.loadState(saved);
    expect([await step(second), await step(second)]).toEqual(losses.slice(2));
    await second.close();
  });

  it.each([7, 60, 200])(
    "gives the same gradient in micro-batches of %i tokens as in one",
    async (microBatchTokens) => {
      const data = tiny([24, 26, 22, 25, 30, 21]);
      const gradients = [];
      for (const options of [{ sharePrefixes: false }, { microBatchTokens }]) {
        const engine = await TrainingEngine.create({
          model: { config: TINY_CONFIG, seed: 2 },
          rewardHead: "fresh",
          ...options,
        });
        await engine.forwardBackward(data, "bradley_terry", {
          lossFnConfig: { center_rewards_coefficient: 0.1 },
        });
        gradients.push(takeGradients(engine, fresh("split")).gradients);
        await engine.close();
      }
      expect(largestRelativeGap(gradients[1]!, gradients[0]!)).toBeLessThan(1e-5);
    },
  );

  it("scores behind a worker as on this thread, and says so when the engine predicts tokens", async () => {
    const sequences = [{ tokens: [1, 2, 3] }, { tokens: [4, 5, 6, 7], at: 1 }];
    const options = { model: { config: TINY_CONFIG, seed: 2 }, seed: 3 };
    const engine = await TrainingEngine.create({ ...options, rewardHead: "fresh" });
    const client = await createTrainingClient({ ...options, rewardHead: "fresh" });
    expect(await client.scores(sequences)).toEqual(await engine.scores(sequences));
    await engine.close();
    await client.close();
    const plain = await createTrainingClient(options);
    await expect(plain.scores(sequences)).rejects.toThrow("Cannot score: the model predicts tokens");
    await plain.close();
  });

  it("is counted by estimateMemory()", () => {
    const shape = { tokens: 64, supervised: 2, longest: 32 };
    const options = { model: { config: TINY_CONFIG, seed: 1 } };
    const [reward, plain] = [
      estimateMemory({ ...options, rewardHead: "fresh" }, shape),
      estimateMemory(options, shape),
    ];
    // 40 · 32 weights of the vocabulary projection are 32 of the score; each is held four times as a float.
    expect(plain.trainable - reward.trainable).toBe(16 * (40 * 32 - 32));
  });
});

describe("what is refused", () => {
  const model = { config: TINY_CONFIG, seed: 1 };
  const data = tiny([22, 23]);

  it("a stored head where there is none", async () => {
    await expect(TrainingEngine.create({ model, rewardHead: "stored" })).rejects.toThrow(
      'Cannot create engine with rewardHead "stored": the model has no "score.weight", expected a reward model. Take "fresh" to train one from this model',
    );
  });

  it("a fresh head in place of a stored one, in a model and in an adapter", async () => {
    const [whole, part] = [fresh("whole"), fresh("part")];
    const base = await writeTinyModel(fresh("base"));
    for (const [saved, lora] of [
      [whole, {}],
      [part, { lora: { rank: 2, alpha: 2 } }],
    ] as const) {
      const engine = await TrainingEngine.create({ model: base, rewardHead: "fresh", ...lora });
      engine.saveWeights(saved);
      await engine.close();
    }
    await expect(TrainingEngine.create({ model: whole, rewardHead: "fresh" })).rejects.toThrow(
      'Cannot create engine with rewardHead "fresh": the model has a "score.weight" already, which a fresh head would replace. Take "stored" to go on with it',
    );
    await expect(TrainingEngine.create({ model: base, adapter: part, rewardHead: "fresh" })).rejects.toThrow(
      'Cannot create engine with rewardHead "fresh": the adapter has a "score.weight" already',
    );
  });

  it("an adapter without a score for an engine that trains one", async () => {
    const base = await writeTinyModel(fresh("base"));
    const lora = { rank: 2, alpha: 2 };
    const plain = await TrainingEngine.create({ model: base, lora });
    const saved = fresh("plain");
    plain.saveWeights(saved);
    await plain.close();
    const engine = await TrainingEngine.create({ model: base, lora, rewardHead: "fresh" });
    expect(() => engine.loadWeights(saved)).toThrow(
      `Cannot load adapter "${saved}": it has no "score.weight", expected one because this engine trains a reward model`,
    );
    await engine.close();
  });

  it("a head with two labels", async () => {
    const two = writeRewardModel({ ...rewardModels[0]!, score: rewardModels[0]!.score });
    const tensors = [...readGoldenTensors(join(two, "model.safetensors"))];
    const broken = fresh("two");
    mkdirSync(broken, { recursive: true });
    writeShardedSafetensors(
      broken,
      tensors.map(([name, { shape, data }]) => {
        const isScore = name === "score.weight";
        const values = isScore ? [...data, ...data] : [...data];
        return {
          name,
          shape: isScore ? [2, shape[1]!] : shape,
          dtype: "F32" as const,
          read: () => Float32Array.from(values),
        };
      }),
    );
    cpSync(join(two, "config.json"), join(broken, "config.json"));
    await expect(TrainingEngine.create({ model: broken })).rejects.toThrow(
      'tensor "score.weight" has shape [2, 32]',
    );
  });

  it("tokens from a reward model, and scores from any other", async () => {
    const reward = await TrainingEngine.create({ model, rewardHead: "fresh" });
    const predicts = "the model is a reward model, which predicts no tokens, expected one that does";
    await expect(reward.nextLogits([1])).rejects.toThrow(`Cannot compute logits: ${predicts}`);
    expect(() => reward.samplingEngine()).toThrow(`Cannot sample: ${predicts}`);
    await expect(reward.forwardBackward([], "cross_entropy")).rejects.toThrow("0 datums");
    await expect(reward.forward(tiny([22, 23]), "cross_entropy")).rejects.toThrow(
      `Cannot train with "cross_entropy": ${predicts}`,
    );
    await expect(reward.scores([{ tokens: [1, 2], at: 2 }])).rejects.toThrow(
      "Cannot score sequence 0: at is 2, expected the index of one of its 2 tokens",
    );
    await expect(reward.scores([{ tokens: [1, 99] }])).rejects.toThrow(
      "Cannot score sequence 0: token 99 at position 1",
    );
    await expect(reward.forwardBackward(data.slice(0, 1), "bradley_terry")).rejects.toThrow(
      'Cannot train with "bradley_terry": 1 datums, expected a multiple of 2: chosen and rejected of each example one after the other',
    );
    await expect(reward.forward(data, "bradley_terry", { temperature: 0.5 })).rejects.toThrow(
      "Cannot compute scores at temperature 0.5: a reward model's score has no temperature",
    );
    await reward.close();
    const plain = await TrainingEngine.create({ model });
    await expect(plain.forwardBackward(data, "bradley_terry")).rejects.toThrow(
      'Cannot train with "bradley_terry": the model predicts tokens and has no reward head, expected a reward model. Create the engine with rewardHead "stored" or "fresh"',
    );
    await expect(plain.scores([{ tokens: [1] }])).rejects.toThrow("Cannot score: the model predicts tokens");
    await plain.close();
  });
});
