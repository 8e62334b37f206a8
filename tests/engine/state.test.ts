/** What is saved is what goes on: states bit for bit, weights for other programs, damage refused before it does any. */
import { copyFileSync, cpSync, existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UserError } from "../../src/base/index.js";
import { type EngineOptions, TrainingEngine } from "../../src/engine/index.js";
import { readGoldenModel, readGoldenTensors } from "../golden/read.js";
import {
  ADAM,
  editJson,
  largestGap,
  randomDatums,
  TINY_CONFIG,
  temporaryFolder,
  writeTinyModel,
} from "./tiny-models.js";

const folder = temporaryFolder();
const model = await writeTinyModel(join(folder, "model"));
const PARAMS = { ...ADAM, weightDecay: 0.1, gradClipNorm: 1 };
const LORA = { rank: 4, alpha: 8 };

/** Steps numbered from `from`: each has its own batch. */
async function train(engine: TrainingEngine, from: number, to: number): Promise<number[]> {
  const losses: number[] = [];
  for (let step = from; step < to; step++) {
    const { metrics } = await engine.forwardBackward(randomDatums(step, [5, 9, 2]), "cross_entropy");
    losses.push(metrics["loss:sum"]!);
    engine.optimStep({ ...PARAMS, learningRate: 0.01 / (1 + step) });
  }
  return losses;
}

const KINDS: readonly [string, Omit<EngineOptions, "model">][] = [
  ["all weights", {}],
  ["LoRA", { lora: LORA }],
  ["LoRA on 4 bits", { lora: LORA, quantise: {} }],
];

describe.each(KINDS)("%s", (title, options) => {
  const at = (name: string): string => join(folder, `${title}-${name}`);

  it("three steps, a save and three more are six steps, bit for bit", async () => {
    const whole = await TrainingEngine.create({ model, ...options });
    const losses = await train(whole, 0, 3);
    whole.saveState(at("half"));
    losses.push(...(await train(whole, 3, 6)));
    whole.saveState(at("whole"));
    await whole.close();

    // Another seed and other weights: everything must come from the state.
    const resumed = await TrainingEngine.create({ model, ...options, seed: 9 });
    await train(resumed, 20, 22);
    resumed.loadState(at("half"));
    expect(await train(resumed, 3, 6)).toEqual(losses.slice(3));
    resumed.saveState(at("resumed"));
    await resumed.close();
    const weights = options.lora === undefined ? "model.safetensors" : "adapter_model.safetensors";
    for (const file of [weights, "optimizer.safetensors", "trainer_state.json"]) {
      const [a, b] = [at("whole"), at("resumed")].map((path) => readFileSync(join(path, file)));
      expect(a!.equals(b!), file).toBe(true);
    }
  });

  it("a second run with the same seed gives the same bits", async () => {
    const runs = [];
    for (let i = 0; i < 2; i++) {
      const engine = await TrainingEngine.create({ model, ...options });
      runs.push({ losses: await train(engine, 0, 3), logits: await engine.nextLogits([3, 1, 4]) });
      await engine.close();
    }
    expect(runs[1]).toEqual(runs[0]);
  });

  it("saveState() refuses while gradients wait", async () => {
    const engine = await TrainingEngine.create({ model, ...options });
    await engine.forwardBackward(randomDatums(0, [4]), "cross_entropy");
    expect(() => engine.saveState(at("pending"))).toThrow(
      new UserError(
        `Cannot save state to "${at("pending")}": gradients of 1 micro-batches wait for optimStep, expected none. Call optimStep first`,
      ),
    );
    expect(existsSync(at("pending"))).toBe(false);
    await engine.close();
  });

  it("saveWeights() is loaded by a fresh engine, and by loadWeights()", async () => {
    const engine = await TrainingEngine.create({ model, ...options });
    await train(engine, 0, 2);
    engine.saveWeights(at("weights"));
    const logits = await engine.nextLogits([3, 1, 4, 1, 5]);
    await engine.close();
    const { lora, ...rest } = options;
    const fresh = await TrainingEngine.create(
      lora === undefined ? { model: at("weights") } : { model, adapter: at("weights"), ...rest },
    );
    expect(largestGap(await fresh.nextLogits([3, 1, 4, 1, 5]), logits)).toBe(0);
    await fresh.close();
    const other = await TrainingEngine.create({ model, ...options, seed: 5 });
    await train(other, 7, 9);
    other.loadWeights(at("weights"));
    expect(largestGap(await other.nextLogits([3, 1, 4, 1, 5]), logits)).toBe(0);
    await other.close();
  });

  it("loadWeights() starts the optimizer anew", async () => {
    const used = await TrainingEngine.create({ model, ...options });
    await train(used, 0, 3);
    used.loadWeights(at("weights"));
    const fresh = await TrainingEngine.create({ model, ...options });
    fresh.loadWeights(at("weights"));
    for (const engine of [used, fresh]) await train(engine, 5, 7);
    expect(await used.nextLogits([2, 7])).toEqual(await fresh.nextLogits([2, 7]));
    await used.close();
    await fresh.close();
  });
});

describe("a bad state is refused and changes nothing", () => {
  const good = join(folder, "LoRA-half");
  const goodFull = join(folder, "all weights-half");
  const nan = (path: string, name: string): void => {
    const bytes = readFileSync(path);
    const start = 8 + Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString("utf8", 8, start)) as Record<string, { data_offsets: number[] }>;
    bytes.writeFloatLE(Number.NaN, start + header[name]!.data_offsets[0]!);
    writeFileSync(path, bytes);
  };

  it.each<[string, "full" | "lora", (path: string) => void, (path: string) => string]>([
    [
      "no trainer_state.json",
      "lora",
      (path) => rmSync(join(path, "trainer_state.json")),
      (path) =>
        `Cannot load state "${path}": it has no trainer_state.json, expected a folder that saveState wrote`,
    ],
    [
      "broken JSON",
      "full",
      (path) => writeFileSync(join(path, "trainer_state.json"), '{"format": 1,'),
      (path) => `Cannot load state "${path}": trainer_state.json is no JSON (`,
    ],
    [
      "a later format",
      "full",
      (path) => editJson(join(path, "trainer_state.json"), (json) => ({ ...json, format: 2 })),
      (path) => `Cannot load state "${path}": trainer_state.json field "format": Invalid input: expected 1`,
    ],
    [
      "an adapter of another rank",
      "lora",
      (path) =>
        editJson(join(path, "trainer_state.json"), (json) => ({
          ...json,
          lora: { ...(json["lora"] as object), rank: 8 },
        })),
      (path) =>
        `Cannot load state "${path}": it was made with adapter {"rank":8,"alpha":8,"rsLora":false,"targets":["self_attn.q_proj",`,
    ],
    [
      "a full state for an adapter's engine",
      "lora",
      (path) => {
        rmSync(path, { recursive: true });
        cpSync(goodFull, path, { recursive: true });
      },
      (path) => `Cannot load state "${path}": it was made with adapter null, expected {"rank":4,"alpha":8`,
    ],
    [
      "no moments",
      "full",
      (path) => rmSync(join(path, "optimizer.safetensors")),
      (path) =>
        `Cannot open safetensors file "${join(path, "optimizer.safetensors")}": no such file, expected a readable file`,
    ],
    [
      "moments of another model",
      "full",
      (path) => copyFileSync(join(good, "optimizer.safetensors"), join(path, "optimizer.safetensors")),
      (path) =>
        `Cannot load state "${path}": optimizer.safetensors has no "first_moment.model.embed_tokens.weight", expected [40, 32]`,
    ],
    [
      "NaN in a moment",
      "full",
      (path) => nan(join(path, "optimizer.safetensors"), "second_moment.model.norm.weight"),
      (path) =>
        `Cannot use tensor "second_moment.model.norm.weight" of "${join(path, "optimizer.safetensors")}": element [0]`,
    ],
    [
      "NaN in the last weight",
      "full",
      (path) => nan(join(path, "model.safetensors"), "lm_head.weight"),
      (path) => `Cannot use tensor "lm_head.weight" of "${join(path, "model.safetensors")}": element [0, 0]`,
    ],
    [
      "truncated weights",
      "full",
      (path) => {
        const file = join(path, "model.safetensors");
        writeFileSync(file, readFileSync(file).subarray(0, 5000));
      },
      (path) => `"${join(path, "model.safetensors")}"`,
    ],
    [
      "truncated adapter",
      "lora",
      (path) => {
        const file = join(path, "adapter_model.safetensors");
        writeFileSync(file, readFileSync(file).subarray(0, 5000));
      },
      (path) => `"${join(path, "adapter_model.safetensors")}"`,
    ],
  ])("%s", async (title, kind, damage, message) => {
    const path = join(folder, `bad-${title}`);
    cpSync(kind === "full" ? goodFull : good, path, { recursive: true });
    damage(path);
    const options = kind === "full" ? { model } : { model, lora: LORA };
    const [engine, twin] = [await TrainingEngine.create(options), await TrainingEngine.create(options)];
    for (const each of [engine, twin]) await train(each, 10, 12);
    let thrown: unknown;
    try {
      engine.loadState(path);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(UserError);
    expect((thrown as Error).message).toContain(message(path));
    // Weights, moments and step are as before: the next steps are those of a twin that never tried.
    expect(await train(engine, 12, 14)).toEqual(await train(twin, 12, 14));
    expect(await engine.nextLogits([1, 2])).toEqual(await twin.nextLogits([1, 2]));
    await engine.close();
    await twin.close();
  });

  it("weights of another architecture", async () => {
    const engine = await TrainingEngine.create({ model });
    const other = readGoldenModel("qwen3").folder;
    expect(() => engine.loadWeights(other)).toThrow(
      new UserError(
        `Cannot load weights "${other}": its config.json describes another model than the engine holds, expected the same architecture and sizes`,
      ),
    );
    await engine.close();
  });

  it("a model folder for an adapter's engine, and an adapter of other terms", async () => {
    const engine = await TrainingEngine.create({ model, lora: { rank: 2, alpha: 4, targets: ["q_proj"] } });
    expect(() => engine.loadWeights(model)).toThrow(
      new UserError(
        `Cannot load weights "${model}": it has no adapter_config.json, expected a PEFT folder because this engine trains an adapter`,
      ),
    );
    const adapter = join(folder, "LoRA-weights");
    expect(() => engine.loadWeights(adapter)).toThrow(
      new UserError(
        `Cannot load adapter "${adapter}": it has rank 4, alpha 8 on self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj, expected rank 2, alpha 4 on self_attn.q_proj`,
      ),
    );
    await engine.close();
  });
});

it.each(["dtype", "torch_dtype"])(
  "saveWeights() says float32 in the %s that a bf16 model came with",
  async (key) => {
    const config = { ...TINY_CONFIG, [key]: "bfloat16" };
    const engine = await TrainingEngine.create({ model: { config, seed: 1 } });
    const target = join(folder, key);
    engine.saveWeights(target);
    await engine.close();
    expect(JSON.parse(readFileSync(join(target, "config.json"), "utf8"))).toEqual({
      ...config,
      [key]: "float32",
    });
  },
);

it("a folder that saveWeights() wrote has all that the source's folder had", async () => {
  const source = join(folder, "with-tokenizer");
  cpSync(model, source, { recursive: true });
  writeFileSync(join(source, "tokenizer.json"), "{}");
  writeFileSync(join(source, "notes.txt"), "not a part of the model");
  const engine = await TrainingEngine.create({ model: source });
  const target = join(folder, "copy");
  engine.saveWeights(target);
  await engine.close();
  expect(readFileSync(join(target, "tokenizer.json"), "utf8")).toBe("{}");
  expect(existsSync(join(target, "notes.txt"))).toBe(false);
  expect(JSON.parse(readFileSync(join(target, "config.json"), "utf8"))).toMatchObject({
    torch_dtype: "float32",
  });
  expect(readGoldenTensors(join(target, "model.safetensors"))).toEqual(
    readGoldenTensors(join(source, "model.safetensors")),
  );
});
