import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { Random, UserError } from "../../base/index.js";
import {
  dequantise,
  type GgufTensorToWrite,
  type GgufValue,
  openSafetensors,
  sizeOf,
  type WritableGgufType,
  writeGguf,
} from "../../tensor/index.js";
import { parseModelConfig } from "../model-config.js";
import { parametersOf } from "../parameters.js";
import { ggufNameOf, readGgufModel, readLlama2c, writeHuggingFaceFolder } from "./index.js";
import { halvesFromPairs } from "./rotary-rows.js";

const folder = mkdtempSync(join(tmpdir(), "hone-convert-"));
const path = join(folder, "model");
afterAll(() => rmSync(folder, { recursive: true }));

it("halvesFromPairs() sends the even rows of each head to its first half, the odd rows to its second", () => {
  const rows = Float32Array.of(0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15);
  const halves = halvesFromPairs(rows, { heads: 2, headWidth: 6 });
  expect([...halves]).toEqual([0, 2, 4, 1, 3, 5, 10, 12, 14, 11, 13, 15]);
  const two = halvesFromPairs(Uint8Array.of(0, 0, 1, 1, 2, 2, 3, 3), { heads: 1, headWidth: 4 });
  expect([...two]).toEqual([0, 0, 2, 2, 1, 1, 3, 3]);
  expect(() => halvesFromPairs(rows, { heads: 5, headWidth: 2 })).toThrow("expected whole rows");
});

it("halvesFromPairs() keeps attention scores: rotating neighbours before it equals rotating halves after it", () => {
  const random = new Random(1);
  const [width, hidden] = [8, 5];
  const matrix = (): Float32Array => Float32Array.from({ length: width * hidden }, () => random.normal());
  const times = (w: Float32Array, x: readonly number[]): number[] =>
    Array.from({ length: width }, (_, r) => x.reduce((sum, value, c) => sum + w[r * hidden + c]! * value, 0));
  const rotated = (
    v: readonly number[],
    position: number,
    pair: (i: number) => [number, number],
  ): number[] => {
    const result = [...v];
    for (let i = 0; i < width / 2; i++) {
      const angle = position * 10000 ** ((-2 * i) / width);
      const [a, b] = pair(i);
      result[a] = v[a]! * Math.cos(angle) - v[b]! * Math.sin(angle);
      result[b] = v[a]! * Math.sin(angle) + v[b]! * Math.cos(angle);
    }
    return result;
  };
  const dot = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, x, i) => sum + x * b[i]!, 0);
  const [wq, wk, x, y] = [matrix(), matrix(), [1, -2, 3, 0.5, 2], [0.3, 1, -1, 2, 1]];
  const neighbours = (i: number): [number, number] => [2 * i, 2 * i + 1];
  const halves = (i: number): [number, number] => [i, i + width / 2];
  const shape = { heads: 1, headWidth: width };
  const before = dot(rotated(times(wq, x), 7, neighbours), rotated(times(wk, y), 3, neighbours));
  const after = dot(
    rotated(times(halvesFromPairs(wq, shape), x), 7, halves),
    rotated(times(halvesFromPairs(wk, shape), y), 3, halves),
  );
  expect(after).toBeCloseTo(before, 10);
});

/** dim 8, hidden_dim 12, 2 layers, 2 heads, 1 key/value head, 3 tokens, context 4. */
const LLAMA2C_HEADER = [8, 12, 2, 2, 1, 3, 4];

/** A checkpoint whose number at index i (after the header) is i. */
function llama2cFile(header: readonly number[], floats: number): string {
  const bytes = Buffer.alloc(28 + floats * 4);
  header.forEach((value, i) => {
    bytes.writeInt32LE(value, i * 4);
  });
  for (let i = 0; i < floats; i++) bytes.writeFloatLE(i, 28 + i * 4);
  writeFileSync(path, bytes);
  return path;
}
const LLAMA2C_FLOATS = 24 + 16 + 128 + 64 + 64 + 128 + 16 + 192 + 192 + 192 + 8 + 8 + 8;

it("readLlama2c() finds every tensor of every layer at its place, queries and keys reordered", () => {
  const model = readLlama2c(llama2cFile(LLAMA2C_HEADER, LLAMA2C_FLOATS));
  const read = (name: string): Float32Array => model.tensors.find((tensor) => tensor.name === name)!.read();
  const names = parametersOf(parseModelConfig(model.config, "test")).map(
    ({ name, shape }) => `${name} ${shape}`,
  );
  expect(model.tensors.map(({ name, shape }) => `${name} ${shape}`).sort()).toEqual(names.sort());
  expect(read("model.embed_tokens.weight")[0]).toBe(0);
  expect(read("model.layers.1.input_layernorm.weight")[0]).toBe(24 + 8);
  // Row 1 of the first head in halves is row 2 in pairs; row 2 is row 1. wq of layer 1 begins at 24 + 16 + 64.
  const wq = read("model.layers.1.self_attn.q_proj.weight");
  expect([0, 8, 16, 24, 32].map((i) => wq[i]! - 104)).toEqual([0, 16, 8, 24, 32]);
  expect(read("model.layers.0.self_attn.k_proj.weight")[8]).toBe(168 + 16);
  expect(read("model.layers.0.self_attn.v_proj.weight")[8]).toBe(232 + 8);
  expect(read("model.layers.1.mlp.gate_proj.weight")[0]).toBe(440 + 96);
  expect(read("model.layers.0.mlp.down_proj.weight")[0]).toBe(440 + 192);
  expect(read("model.layers.0.mlp.up_proj.weight")[0]).toBe(440 + 384);
  expect(read("model.norm.weight")[0]).toBe(440 + 576);
  model.close();
});

it("readLlama2c() reads an output matrix of its own when the vocabulary size is negative", () => {
  const model = readLlama2c(llama2cFile([8, 12, 2, 2, 1, -3, 4], LLAMA2C_FLOATS + 24));
  expect(model.config).toMatchObject({ vocab_size: 3, tie_word_embeddings: false });
  expect(model.tensors.at(-1)!.name).toBe("lm_head.weight");
  expect(model.tensors.at(-1)!.read()[0]).toBe(LLAMA2C_FLOATS);
  model.close();
});

it.each<[string, readonly number[], number, string]>([
  [
    "a file that is too short",
    LLAMA2C_HEADER,
    1000,
    "it has 4028 bytes, expected at least 4092 for the header's dim 8, hidden_dim 12, n_layers 2, n_heads 2, n_kv_heads 1, vocab_size 3, seq_len 4",
  ],
  ["a file that is too long", LLAMA2C_HEADER, LLAMA2C_FLOATS + 1, "it has 4192 bytes, expected 4188 for"],
  [
    "a negative layer count",
    [8, 12, -2, 2, 1, 3, 4],
    9,
    "byte 8 gives n_layers -2, expected a number from 1 to 16777216",
  ],
  [
    "heads that do not divide",
    [9, 12, 2, 2, 1, 3, 4],
    9,
    "dim 9 with n_heads 2, expected heads of an even width that divide dim",
  ],
  ["key heads that do not divide", [8, 12, 2, 2, 3, 3, 4], 9, "n_heads 2 with n_kv_heads 3"],
  ["a later format", [0x616b3432, 2, 0, 0, 0, 0, 0], 9, "it is of version 2, expected version 0"],
  ["enormous sizes", [2 ** 24, 2 ** 24, 2 ** 24, 2, 1, 2 ** 24, 2 ** 24], 9, "it has 64 bytes, expected"],
])("readLlama2c() refuses %s", (_, header, floats, expected) => {
  const file = llama2cFile(header, floats);
  expect(() => readLlama2c(file)).toThrow(UserError);
  expect(() => readLlama2c(file)).toThrow(`Cannot read llama2.c checkpoint "${path}": `);
  expect(() => readLlama2c(file)).toThrow(expected);
});

it("readLlama2c() names a tensor with NaN", () => {
  const bytes = readFileSync(llama2cFile(LLAMA2C_HEADER, LLAMA2C_FLOATS));
  bytes.writeFloatLE(Number.NaN, 28 + 30 * 4);
  writeFileSync(path, bytes);
  const model = readLlama2c(path);
  expect(() => model.tensors[0]!.read()).not.toThrow();
  expect(() => model.tensors.forEach((tensor) => void tensor.read())).toThrow(
    `Cannot use tensor "model.layers.0.input_layernorm.weight" of "${path}": element 6 (byte 148) is NaN, expected finite numbers`,
  );
  model.close();
});

const stories = join(
  process.env["HONE_DATA"] ?? join(import.meta.dirname, "../../../../shared/data"),
  "stories260k/stories260K.bin",
);
it.skipIf(!existsSync(stories))(
  `readLlama2c() reads stories260K and writes a folder that reads back the same (skipped without ${stories})`,
  () => {
    const model = readLlama2c(stories);
    const seen: string[] = [];
    const files = writeHuggingFaceFolder(folder, model, {
      maxShardBytes: 400_000,
      onTensor: (name) => seen.push(name),
    });
    expect(seen.length).toBe(47);
    expect(files.filter((file) => file.endsWith(".safetensors")).length).toBe(3);
    expect(readdirSync(folder)).toEqual(expect.arrayContaining(files));
    const json: unknown = JSON.parse(readFileSync(join(folder, "config.json"), "utf8"));
    const config = parseModelConfig(json, "config.json");
    const written = openSafetensors(folder);
    for (const { name, shape } of parametersOf(config)) {
      const target = new Float32Array(sizeOf(shape));
      written.readInto(name, target, { rejectNonFinite: true });
      const expected = model.tensors.find((tensor) => tensor.name === name)!.read();
      expect(Buffer.from(target.buffer).equals(Buffer.from(expected.buffer))).toBe(true);
    }
    written.close();
    model.close();
  },
);

const BASE = {
  vocab_size: 6,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 16,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
};

const u32 = (value: number): GgufValue => ({ type: "uint32", value });
const f32 = (value: number): GgufValue => ({ type: "float32", value });

function metadataOf(architecture: string, more: Record<string, GgufValue> = {}): Record<string, GgufValue> {
  const own: Record<string, GgufValue> = {
    embedding_length: u32(32),
    feed_forward_length: u32(64),
    block_count: u32(2),
    "attention.head_count": u32(4),
    "attention.head_count_kv": u32(2),
    "attention.key_length": u32(16),
    context_length: u32(128),
    "attention.layer_norm_rms_epsilon": f32(1e-5),
    "rope.freq_base": f32(500000),
    ...more,
  };
  const pairs = Object.entries(own).map(([key, value]) => [`${architecture}.${key}`, value]);
  return {
    "general.architecture": { type: "string", value: architecture },
    ...Object.fromEntries(pairs),
    "tokenizer.ggml.bos_token_id": u32(1),
  };
}

/** llama.cpp's `permute`: w.reshape(heads, 2, K/2, columns).swapaxes(1, 2). */
function toPairs(data: Float32Array, heads: number): Float32Array {
  const width = 16;
  const columns = data.length / (heads * width);
  const result = new Float32Array(data.length);
  for (let h = 0; h < heads; h++)
    for (let j = 0; j < 2; j++)
      for (let i = 0; i < width / 2; i++)
        for (let c = 0; c < columns; c++) {
          const from = ((h * 2 + j) * (width / 2) + i) * columns + c;
          result[((h * (width / 2) + i) * 2 + j) * columns + c] = data[from]!;
        }
  return result;
}

interface Written {
  readonly weights: ReadonlyMap<string, Float32Array>;
  readonly list: GgufTensorToWrite[];
}

/** Random weights by Hugging Face's names, and the same as GGUF holds them. */
function weightsOf(
  json: object,
  { paired, type = "F32" }: { paired: boolean; type?: WritableGgufType },
): Written {
  const random = new Random(9);
  const weights = new Map<string, Float32Array>();
  const list = parametersOf(parseModelConfig(json, "test")).map(({ name, shape }) => {
    const data = Float32Array.from({ length: sizeOf(shape) }, () => random.normal());
    weights.set(name, data);
    const heads = name.includes("q_proj") ? 4 : 2;
    const stored = paired && /[qk]_proj/.test(name) ? toPairs(data, heads) : data;
    return {
      name: ggufNameOf(name),
      shape,
      type: shape.length === 2 ? type : ("F32" as const),
      read: () => stored,
    };
  });
  return { weights, list };
}

it.each([
  ["llama", { model_type: "llama", tie_word_embeddings: true, attention_bias: false, mlp_bias: false }, true],
  ["llama", { model_type: "llama", tie_word_embeddings: false, attention_bias: true, mlp_bias: true }, true],
  ["qwen2", { model_type: "qwen2", tie_word_embeddings: true }, false],
  ["qwen3", { model_type: "qwen3", tie_word_embeddings: false, attention_bias: false }, false],
  ["mistral", { model_type: "mistral", tie_word_embeddings: false, sliding_window: null }, true],
])(
  "readGgufModel() gives config and weights of a %s model back in Hugging Face's form (%o)",
  (architecture, own, paired) => {
    const json = { ...BASE, ...own };
    const { weights, list } = weightsOf(json, { paired });
    writeGguf(path, list, metadataOf(architecture));
    const model = readGgufModel(path);
    expect(model.config).toMatchObject({ ...json, bos_token_id: 1 });
    expect(parseModelConfig(model.config, "a")).toEqual(parseModelConfig(json, "b"));
    expect(model.tensors.map(({ name }) => name).sort()).toEqual([...weights.keys()].sort());
    for (const { name, read } of model.tensors) expect(read()).toEqual(weights.get(name));
    model.close();
  },
);

it("readGgufModel() takes Q4_0 as it is: the 4-bit matrix equals the decoded one, rows reordered alike", () => {
  const { list } = weightsOf({ ...BASE, model_type: "llama" }, { paired: true, type: "Q4_0" });
  writeGguf(path, list, metadataOf("llama"));
  const model = readGgufModel(path);
  const quantised = model.tensors.filter(({ readQ4 }) => readQ4 !== undefined);
  expect(quantised.length).toBe(2 + 2 * 7);
  for (const { read, readQ4 } of quantised) expect(dequantise(readQ4!())).toEqual(read());
  model.close();
});

it.each<[string, Record<string, GgufValue>, object]>([
  [
    "linear",
    { "rope.scaling.type": { type: "string", value: "linear" }, "rope.scaling.factor": f32(4) },
    { rope_type: "linear", factor: 4 },
  ],
  ["an old linear", { "rope.scale_linear": f32(2) }, { rope_type: "linear", factor: 2 }],
  [
    "yarn",
    {
      "rope.scaling.type": { type: "string", value: "yarn" },
      "rope.scaling.factor": f32(4),
      "rope.scaling.original_context_length": u32(32),
    },
    { rope_type: "yarn", factor: 4, original_max_position_embeddings: 32 },
  ],
])("readGgufModel() reads %s RoPE scaling", (_, more, expected) => {
  const { list } = weightsOf({ ...BASE, model_type: "qwen2", tie_word_embeddings: true }, { paired: false });
  writeGguf(path, list, metadataOf("qwen2", more));
  const model = readGgufModel(path);
  expect(model.config["rope_scaling"]).toEqual(expected);
  model.close();
});

it("readGgufModel() finds Llama 3.1's scaling in its frequency factors, and refuses factors of another kind", () => {
  const { list } = weightsOf({ ...BASE, model_type: "llama" }, { paired: true });
  // K = 16, theta 500,000: wavelengths 2π θ^(i/8) of 6.28, 32.4, 167, 862, 4443, 22904, ... against 8192 / 4 and 8192.
  // Pair 4: turns = 8192 / 4443 = 1.844, smooth = 0.2813, divisor 1 / (0.7187 / 8 + 0.2813) = 2.695.
  const factors = Float32Array.of(1, 1, 1, 1, 2.6946, 8, 8, 8);
  const extra = { name: "rope_freqs.weight", type: "F32", shape: [8], read: () => factors } as const;
  writeGguf(path, [...list, extra], metadataOf("llama"));
  const model = readGgufModel(path);
  expect(model.config["rope_scaling"]).toEqual({
    rope_type: "llama3",
    factor: 8,
    low_freq_factor: 1,
    high_freq_factor: 4,
    original_max_position_embeddings: 8192,
  });
  model.close();
  factors[2] = 3;
  writeGguf(path, [...list, extra], metadataOf("llama"));
  expect(() => readGgufModel(path)).toThrow(
    `Cannot convert GGUF file "${path}": rope_freqs.weight divides pair 2 by 3, expected 1, as Llama 3.1's scaling with factor 8 does`,
  );
});

type Change = (list: GgufTensorToWrite[], metadata: Record<string, GgufValue>) => void;
it.each<[string, Change, string]>([
  [
    "an unknown architecture",
    (_, m) => (m["general.architecture"] = { type: "string", value: "gemma" }),
    'general.architecture is "gemma", expected one of llama, mistral, qwen2, qwen3',
  ],
  [
    "a missing key",
    (_, m) => delete m["llama.context_length"],
    "llama.context_length is missing, expected a number",
  ],
  [
    "a key of another type",
    (_, m) => (m["llama.block_count"] = { type: "string", value: "2" }),
    "llama.block_count is of type string, expected one non-negative number",
  ],
  [
    "a mixture of experts",
    (_, m) => (m["llama.expert_count"] = u32(8)),
    "llama.expert_count is 8, expected a dense model",
  ],
  [
    "too many layers",
    (_, m) => (m["llama.block_count"] = u32(2 ** 31)),
    "llama.block_count is 2147483648, expected at most 21, its number of tensors",
  ],
  [
    "a partial rotation",
    (_, m) => (m["llama.rope.dimension_count"] = u32(8)),
    "llama.rope.dimension_count is 8, expected the head's width 16",
  ],
  [
    "a missing tensor",
    (l) => l.splice(4, 1),
    'tensor "blk.0.attn_v.weight" is missing, expected it with shape [32, 32]',
  ],
  [
    "a tensor of another shape",
    (_, m) => (m["llama.feed_forward_length"] = u32(60)),
    'tensor "blk.0.ffn_gate.weight" has shape [64, 32], expected [60, 32] by its metadata',
  ],
  [
    "a tensor too many",
    (l) => l.push({ ...l.at(-1)!, name: "blk.0.ffn_gate_inp.weight" }),
    'it has a tensor "blk.0.ffn_gate_inp.weight", expected only tensors of a plain model',
  ],
])("readGgufModel() refuses %s", (_, change, expected) => {
  const { list } = weightsOf({ ...BASE, model_type: "llama" }, { paired: true });
  const metadata = metadataOf("llama");
  change(list, metadata);
  writeGguf(path, list, metadata);
  expect(() => readGgufModel(path)).toThrow(UserError);
  expect(() => readGgufModel(path)).toThrow(`Cannot convert GGUF file "${path}": ${expected}`);
});
