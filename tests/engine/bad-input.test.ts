/** Wrong files and wrong data: one message each, naming the place, what was found and what was expected. */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UserError } from "../../src/base/index.js";
import { createTrainingClient, type EngineOptions, TrainingEngine } from "../../src/engine/index.js";
import { type Datum, modelInputFromTokens } from "../../src/protocol/index.js";
import { type TensorToWrite, writeSafetensors, writeShardedSafetensors } from "../../src/tensor/index.js";
import { type GoldenTensor, readGoldenAdapter, readGoldenModel, readGoldenTensors } from "../golden/read.js";
import { editJson, temporaryFolder, writeTinyModel } from "./tiny-models.js";

const folder = temporaryFolder();
const good = await writeTinyModel(join(folder, "good"), { num_hidden_layers: 1 });
const WEIGHTS = "model.safetensors";

function rewrite(path: string, change: (tensors: Map<string, GoldenTensor>) => void, file = WEIGHTS): void {
  const tensors = new Map(readGoldenTensors(join(path, file)));
  change(tensors);
  writeSafetensors(join(path, file), toWrite(tensors));
}

function toWrite(tensors: ReadonlyMap<string, GoldenTensor>): TensorToWrite[] {
  return [...tensors].map(([name, { shape, data }]) => ({
    name,
    shape,
    dtype: "F32" as const,
    read: () => data,
  }));
}

const zeros = (...shape: number[]): GoldenTensor => ({
  shape,
  data: new Float32Array(shape.reduce((a, b) => a * b, 1)),
});

const config = (path: string, changes: Record<string, unknown>): void =>
  editJson(join(path, "config.json"), (json) => ({ ...json, ...changes }));

async function refusalOf(options: EngineOptions): Promise<string> {
  const thrown: unknown = await TrainingEngine.create(options).then(
    () => "it was accepted",
    (error: unknown) => error,
  );
  expect(thrown).toBeInstanceOf(UserError);
  return (thrown as Error).message;
}

describe("a model folder", () => {
  it.each<[string, (path: string) => void, (path: string) => string]>([
    [
      "that does not exist",
      (path) => rmSync(path, { recursive: true }),
      (path) =>
        `Cannot open model "${path}": there is no such folder, expected one with config.json, model.safetensors and tokenizer.json`,
    ],
    [
      "without config.json",
      (path) => rmSync(join(path, "config.json")),
      (path) => `Cannot open model "${path}": it has no config.json, expected a Hugging Face model folder`,
    ],
    [
      "whose config.json is an array",
      (path) => writeFileSync(join(path, "config.json"), "[]"),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: expected a JSON object, Invalid input: expected object, received array`,
    ],
    [
      "of an unknown architecture",
      (path) => config(path, { model_type: "gpt_neox" }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: model_type is "gpt_neox", expected one of llama, mistral, qwen2, qwen3`,
    ],
    [
      "of an architecture named like a JavaScript method",
      (path) => config(path, { model_type: "toString" }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: model_type is "toString", expected one of llama, mistral, qwen2, qwen3`,
    ],
    [
      "with a number as a string",
      (path) => config(path, { hidden_size: "32" }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: field "hidden_size": Invalid input: expected number, received string`,
    ],
    [
      "with no layers",
      (path) => config(path, { num_hidden_layers: 0 }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: field "num_hidden_layers": Too small: expected number to be >0`,
    ],
    [
      "with key heads that do not divide the heads",
      (path) => config(path, { num_key_value_heads: 3 }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: num_attention_heads 4 is no multiple of num_key_value_heads 3`,
    ],
    [
      "with an odd head width",
      (path) => config(path, { head_dim: 7 }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: head width is 7 (hidden_size 32 over 4 heads), expected an even integer`,
    ],
    [
      "with another activation",
      (path) => config(path, { hidden_act: "gelu" }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: hidden_act is "gelu", expected "silu"`,
    ],
    [
      "with an unknown rope",
      (path) => config(path, { rope_scaling: { rope_type: "longrope", factor: 2 } }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: rope type is "longrope", expected default, linear, dynamic, llama3 or yarn`,
    ],
    [
      "with a rope that lacks its factor",
      (path) => config(path, { rope_scaling: { type: "linear" } }),
      (path) =>
        `Cannot read model config ${join(path, "config.json")}: rope_scaling.factor is missing, expected a number for rope type "linear"`,
    ],
    [
      "without weights",
      (path) => rmSync(join(path, WEIGHTS)),
      (path) =>
        `Cannot open weights in folder "${path}": it has neither model.safetensors nor model.safetensors.index.json, expected one of them`,
    ],
    [
      "that lacks a tensor",
      (path) => rewrite(path, (tensors) => tensors.delete("model.norm.weight")),
      (path) =>
        `Cannot load model "${path}": tensor "model.norm.weight" is missing, expected shape [32] by config.json. The file has 11 tensors`,
    ],
    [
      "with a tensor too many",
      (path) =>
        rewrite(path, (tensors) => tensors.set("model.layers.1.self_attn.q_proj.weight", zeros(32, 32))),
      (path) =>
        `Cannot load model "${path}": tensor "model.layers.1.self_attn.q_proj.weight" in ${join(path, WEIGHTS)} belongs to no llama model of this config.json, expected only its 12 parameters`,
    ],
    [
      "with a transposed tensor",
      (path) => rewrite(path, (tensors) => tensors.set("model.layers.0.mlp.up_proj.weight", zeros(32, 64))),
      (path) =>
        `Cannot load model "${path}": tensor "model.layers.0.mlp.up_proj.weight" has shape [32, 64] in ${join(path, WEIGHTS)}, expected [64, 32] by config.json`,
    ],
    [
      "with a smaller vocabulary than config.json says",
      (path) => config(path, { vocab_size: 50 }),
      (path) =>
        `Cannot load model "${path}": tensor "model.embed_tokens.weight" has shape [40, 32] in ${join(path, WEIGHTS)}, expected [50, 32] by config.json`,
    ],
    [
      "with NaN",
      (path) => rewrite(path, (tensors) => void (tensors.get("model.norm.weight")!.data[5] = Number.NaN)),
      (path) => `Cannot use tensor "model.norm.weight" of "${join(path, WEIGHTS)}": element [5] (byte `,
    ],
    [
      "with an infinity",
      (path) =>
        rewrite(path, (tensors) => void (tensors.get("lm_head.weight")!.data[33] = Number.NEGATIVE_INFINITY)),
      (path) => `Cannot use tensor "lm_head.weight" of "${join(path, WEIGHTS)}": element [1, 1] (byte `,
    ],
    [
      "whose weights are cut short",
      (path) => writeFileSync(join(path, WEIGHTS), readFileSync(join(path, WEIGHTS)).subarray(0, -4)),
      (path) => `"${join(path, WEIGHTS)}"`,
    ],
    [
      "whose weights are empty",
      (path) => writeFileSync(join(path, WEIGHTS), ""),
      (path) => `"${join(path, WEIGHTS)}"`,
    ],
    [
      "that lacks a shard",
      (path) => {
        const tensors = toWrite(readGoldenTensors(join(path, WEIGHTS)));
        rmSync(join(path, WEIGHTS));
        writeShardedSafetensors(path, tensors, { maxShardBytes: 12_000 });
        rmSync(join(path, "model-00002-of-00005.safetensors"));
      },
      (path) =>
        `Cannot read shard index "${join(path, "model.safetensors.index.json")}": 1 of its 5 shards are missing from "${path}": "model-00002-of-00005.safetensors", expected all of them. Download the missing files`,
    ],
  ])("%s", async (title, damage, message) => {
    const path = join(folder, title);
    cpSync(good, path, { recursive: true });
    damage(path);
    const found = await refusalOf({ model: path });
    const expected = message(path);
    if (expected.startsWith("Cannot") && !expected.endsWith("(byte ")) expect(found).toBe(expected);
    else expect(found).toContain(expected);
  });

  it("whose config.json is no JSON", async () => {
    const path = join(folder, "no-json");
    cpSync(good, path, { recursive: true });
    writeFileSync(join(path, "config.json"), '{"model_type": "llama",}');
    // The rest of the sentence is V8's and differs between versions of Node.
    expect(await refusalOf({ model: path })).toMatch(
      new RegExp(`^Cannot read model config ${join(path, "config.json")}: .*JSON`),
    );
  });

  it("with a weight of integers", async () => {
    const path = join(folder, "integers");
    cpSync(good, path, { recursive: true });
    const file = readFileSync(join(path, WEIGHTS));
    const start = 8 + Number(file.readBigUInt64LE(0));
    const header = file.toString("utf8", 8, start);
    // I32 is one letter longer than nothing and as wide as F32: only the dtype changes.
    const changed = header.replace(/("model\.norm\.weight":\{"dtype":")F32/, "$1I32");
    expect(changed).not.toBe(header);
    writeFileSync(
      join(path, WEIGHTS),
      Buffer.concat([file.subarray(0, 8), Buffer.from(changed), file.subarray(start)]),
    );
    expect(await refusalOf({ model: path })).toMatch(
      /^Cannot read tensor "model\.norm\.weight" of ".*" as float32: its dtype is I32, expected /,
    );
  });

  it("takes a tied head that is stored again, and rotary frequencies, as other programs do", async () => {
    const path = await writeTinyModel(join(folder, "tied"), {
      num_hidden_layers: 1,
      tie_word_embeddings: true,
    });
    rewrite(path, (tensors) => {
      tensors.set("lm_head.weight", tensors.get("model.embed_tokens.weight")!);
      tensors.set("model.layers.0.self_attn.rotary_emb.inv_freq", zeros(4));
    });
    const engine = await TrainingEngine.create({ model: path });
    expect((await engine.nextLogits([1])).length).toBe(40);
    await engine.close();
  });

  it("that is a GGUF file cut short", async () => {
    const path = join(folder, "short.gguf");
    writeFileSync(path, Buffer.from("GGUF\u0003\0\0\0"));
    expect(await refusalOf({ model: path })).toContain(`"${path}"`);
    expect(await refusalOf({ model: join(folder, "none.gguf") })).toContain(`"${join(folder, "none.gguf")}"`);
  });
});

describe("an adapter folder", () => {
  const golden = readGoldenAdapter("llama-all-linear");
  const model = readGoldenModel(golden.base).folder;
  const CONFIG = "adapter_config.json";
  const TENSORS = "adapter_model.safetensors";
  const first = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  const field = (changes: Record<string, unknown>) => (path: string) =>
    editJson(join(path, CONFIG), (json) => ({ ...json, ...changes }));

  it.each<[string, (path: string) => void, (path: string) => string]>([
    [
      "without its config",
      (path) => rmSync(join(path, CONFIG)),
      () => "it has no adapter_config.json, expected a PEFT folder",
    ],
    [
      "of another kind",
      field({ peft_type: "IA3" }),
      () =>
        'adapter_config.json field "peft_type": Invalid input: expected "LORA", expected a plain LoRA adapter',
    ],
    [
      "without rank",
      field({ r: undefined }),
      () =>
        'adapter_config.json field "r": Invalid input: expected number, received undefined, expected a plain LoRA adapter',
    ],
    [
      "with DoRA",
      field({ use_dora: true }),
      () =>
        'adapter_config.json field "use_dora": Invalid input: expected false, expected a plain LoRA adapter',
    ],
    [
      "with ranks of its own per module",
      field({ rank_pattern: { q_proj: 4 } }),
      () =>
        "adapter_config.json has rank_pattern or alpha_pattern, expected one rank and alpha for all modules",
    ],
    [
      "whose rank is not that of its tensors",
      field({ r: 5 }),
      () => `tensor "${first}" has shape [4, 32], expected [5, 32] for rank 5 on this model`,
    ],
    [
      "that lacks a tensor",
      (path) => rewrite(path, (tensors) => tensors.delete(first), TENSORS),
      () =>
        `tensor "${first}" is missing, expected every layer to carry self_attn.q_proj, self_attn.k_proj, self_attn.v_proj, self_attn.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj`,
    ],
    [
      "with a tensor of a deeper model",
      (path) =>
        rewrite(path, (tensors) => tensors.set(first.replace("layers.0", "layers.7"), zeros(4, 32)), TENSORS),
      () => "it has 29 tensors, expected 28 for 2 layers",
    ],
    [
      "with a tensor that is no adapter's",
      (path) => rewrite(path, (tensors) => tensors.set("lm_head.weight", zeros(2)), TENSORS),
      () =>
        'tensor "lm_head.weight" is no LoRA matrix, expected names like "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"',
    ],
  ])("%s", async (title, damage, message) => {
    const path = join(folder, `adapter ${title}`);
    cpSync(golden.folder, path, { recursive: true });
    damage(path);
    expect(await refusalOf({ model, adapter: path })).toBe(`Cannot load adapter "${path}": ${message(path)}`);
  });

  it("of another model", async () => {
    const other = readGoldenModel("qwen3").folder;
    expect(await refusalOf({ model: other, adapter: golden.folder })).toMatch(
      /^Cannot load adapter ".*": tensor ".*" has shape \[.*\], expected \[.*\] for rank 4 on this model$/,
    );
  });

  it("with NaN", async () => {
    const path = join(folder, "adapter-nan");
    cpSync(golden.folder, path, { recursive: true });
    rewrite(path, (tensors) => void (tensors.get(first)!.data[1] = Number.NaN), TENSORS);
    expect(await refusalOf({ model, adapter: path })).toContain(
      `Cannot use tensor "${first}" of "${join(path, TENSORS)}": element [0, 1]`,
    );
  });

  it("that is empty", async () => {
    const path = join(folder, "adapter-empty");
    mkdirSync(path);
    expect(await refusalOf({ model, adapter: path })).toBe(
      `Cannot load adapter "${path}": it has no adapter_config.json, expected a PEFT folder`,
    );
  });
});

describe("a datum", () => {
  const tensor = (data: number[]) => ({ data, dtype: "float32" as const });
  const datum = (tokens: number[], lossFnInputs: Datum["lossFnInputs"]): Datum => ({
    modelInput: modelInputFromTokens(tokens),
    lossFnInputs,
  });
  const sound = datum([1, 2], { target_tokens: tensor([2, 3]) });

  it.each<[string, Datum, string]>([
    ["without tokens", datum([], { target_tokens: tensor([]) }), "has no tokens, expected at least 1"],
    ["without targets", datum([1, 2], {}), "has no target_tokens, expected one per input token"],
    [
      "with fewer targets than tokens",
      datum([1, 2, 3], { target_tokens: tensor([2, 3]) }),
      "has 2 target_tokens for 3 input tokens, expected equal",
    ],
    [
      "with more weights than tokens",
      datum([1, 2], { target_tokens: tensor([2, 3]), weights: tensor([1, 1, 1]) }),
      "has 3 weights for 2 input tokens, expected equal",
    ],
    [
      "with an id beyond the vocabulary",
      datum([1, 40], { target_tokens: tensor([2, 3]) }),
      "has input token 40 at position 1, expected an id below the vocabulary size 40",
    ],
    [
      "with a negative target",
      datum([1, 2], { target_tokens: tensor([-100, 3]) }),
      "has target token -100 at position 0, expected an id below the vocabulary size 40",
    ],
    [
      "with half a token",
      datum([1, 2.5], { target_tokens: tensor([2, 3]) }),
      "has input token 2.5 at position 1, expected an id below the vocabulary size 40",
    ],
    [
      "with a NaN weight",
      datum([1, 2], { target_tokens: tensor([2, 3]), weights: tensor([1, Number.NaN]) }),
      "has weights NaN at position 1, expected a finite number",
    ],
    [
      "with an input that the loss does not know",
      datum([1, 2], { target_tokens: tensor([2, 3]), advantages: tensor([1, 1]) }),
      'has "advantages", expected only target_tokens, weights',
    ],
  ])("%s", async (_title, bad, message) => {
    const engine = await TrainingEngine.create({ model: good });
    const attempt = engine.forwardBackward([sound, bad], "cross_entropy");
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(
      new UserError(`Cannot train with "cross_entropy": datum 1 ${message}`),
    );
    await engine.close();
  });

  it("that lacks what a policy loss needs; losses, keys and batches that are none", async () => {
    const client = await createTrainingClient({ model: good });
    const policy = datum([1, 2], {
      target_tokens: tensor([2, 3]),
      logprobs: tensor([-1, -1]),
      advantages: tensor([1, 1]),
    });
    const weighed = datum([1, 2], { ...policy.lossFnInputs, weights: tensor([1, 1]) });
    const { logprobs: _, ...withoutLogprobs } = policy.lossFnInputs;
    const cases: readonly [() => Promise<unknown>, string][] = [
      [
        () => client.forwardBackward([datum([1, 2], withoutLogprobs)], "ppo"),
        'Cannot train with "ppo": datum 0 has no logprobs, expected one number per target token',
      ],
      [
        () => client.forwardBackward([policy], "ppo", { lossFnConfig: { clip: 0.2 } }),
        'Cannot train with "ppo": config key "clip" is unknown, expected clip_low_threshold, clip_high_threshold',
      ],
      [
        () => client.forward([sound], "cross_entropy", { lossFnConfig: { beta: 1 } }),
        'Cannot train with "cross_entropy": config key "beta" is unknown, expected none',
      ],
      [
        () => client.forward([policy], "ppo", { lossFnConfig: { clip_low_threshold: Number.NaN } }),
        'Cannot train with "ppo": config key "clip_low_threshold" is NaN, expected a finite number',
      ],
      [
        () => client.forward([], "cross_entropy"),
        'Cannot train with "cross_entropy": 0 datums, expected at least 1',
      ],
      [
        () => client.forward([sound], "pg" as "ppo"), // a name that only untyped callers can give
        'Cannot train with "pg": no such loss, expected one of cross_entropy, importance_sampling, ppo, cispo, dro, grpo, gspo, rloo, weighted_cispo, dpo, cpo, simpo, orpo, kto, bradley_terry',
      ],
      [
        () => client.forward([sound], "constructor" as "ppo"),
        'Cannot train with "constructor": no such loss, expected one of cross_entropy, importance_sampling, ppo, cispo, dro, grpo, gspo, rloo, weighted_cispo, dpo, cpo, simpo, orpo, kto, bradley_terry',
      ],
      [
        () => client.forwardBackward([weighed], "grpo", { lossFnConfig: { kl_coef: 0.1 } }),
        'Cannot train with "grpo": datum 0 has no reference_logprobs, expected one number per target token',
      ],
      [
        () => client.forwardBackward([weighed], "grpo", { lossFnConfig: { kl_estimator: 4 } }),
        'Cannot train with "grpo": config key "kl_estimator" is 4, expected one of 1, 2, 3',
      ],
      [() => client.nextLogits([]), "Cannot compute logits: 0 tokens, expected at least 1"],
      [
        () => client.nextLogits([1, 99]),
        "Cannot compute logits: token 99 at position 1, expected an id below the vocabulary size 40",
      ],
    ];
    for (const [attempt, message] of cases) {
      const call = attempt();
      await expect(call).rejects.toThrow(UserError);
      await expect(call).rejects.toThrow(new UserError(message));
    }
    await client.close();
  });

  it("that is bad leaves the gradients of earlier calls as they were", async () => {
    const engine = await TrainingEngine.create({ model: good });
    await engine.forwardBackward([sound], "cross_entropy");
    await expect(engine.forwardBackward([datum([99], {})], "cross_entropy")).rejects.toThrow(UserError);
    await expect(
      engine.forwardBackward([sound], "cross_entropy", { lossFnConfig: { beta: 1 } }),
    ).rejects.toThrow(UserError);
    expect(
      engine.optimStep({
        learningRate: 0,
        beta1: 0.9,
        beta2: 0.9,
        eps: 1e-8,
        weightDecay: 0,
        gradClipNorm: 0,
      }).metrics["grad_norm:mean"],
    ).toBeGreaterThan(0.1);
    await engine.close();
  });
});
