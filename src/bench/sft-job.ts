/** Writes what an SFT benchmark trains and trains on: a model with random weights, a byte-level tokenizer, rows of text. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Random } from "../base/index.js";
import { writeShardedSafetensors } from "../tensor/index.js";
import { configOf, linearsOf, type ModelShape } from "./model-shape.js";

/** An SFT run on files that both sides read: `steps` optimizer steps of `batchSize` rows with `maxLength` tokens each. */
export interface SftJob {
  readonly modelDirectory: string;
  readonly dataFile: string;
  readonly batchSize: number;
  readonly maxLength: number;
  readonly steps: number;
}

/** Ids 0–255 are bytes; these follow. */
const SPECIAL_TOKENS = ["<s>", "</s>", "<pad>"];
const BYTES = 256;

/** Writes a job into `directory`. Every row fills `maxLength` exactly, its end included, so no side pads. */
export function writeSftJob(directory: string, shape: ModelShape, steps: number): SftJob {
  const random = new Random(0);
  writeModel(directory, shape, random.fork("weights"));
  const rows = Array.from({ length: steps * shape.sequences }, () => ({
    text: randomText(shape.tokens - 1, random),
  }));
  const dataFile = join(directory, "rows.jsonl");
  writeFileSync(dataFile, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return {
    modelDirectory: directory,
    dataFile,
    batchSize: shape.sequences,
    maxLength: shape.tokens,
    steps,
  };
}

function writeModel(directory: string, shape: ModelShape, random: Random): void {
  const writeJson = (name: string, value: unknown) =>
    writeFileSync(join(directory, name), `${JSON.stringify(value, null, 1)}\n`);
  const [bosToken, eosToken, padToken] = SPECIAL_TOKENS;
  writeJson("config.json", {
    ...configOf(shape),
    ...{ bos_token_id: BYTES, eos_token_id: BYTES + 1, pad_token_id: BYTES + 2 },
  });
  writeJson("tokenizer.json", byteTokenizer());
  writeJson("tokenizer_config.json", {
    ...{ tokenizer_class: "PreTrainedTokenizerFast", model_max_length: 1024 },
    ...{ bos_token: bosToken, eos_token: eosToken, pad_token: padToken },
  });
  writeShardedSafetensors(
    directory,
    weightsOf(shape).map(({ name, shape }) => ({
      ...{ name, shape, dtype: "F32" as const },
      read: () => {
        const size = shape.reduce((product, axis) => product * axis, 1);
        const isNorm = shape.length === 1;
        return Float32Array.from({ length: size }, () => (isNorm ? 1 : random.normal() * 0.02));
      },
    })),
  );
}

/** Names and shapes of a Llama's weights, as transformers writes them. */
function weightsOf(shape: ModelShape): { readonly name: string; readonly shape: readonly number[] }[] {
  const { hiddenSize, layers, vocabularySize } = shape;
  const projections = [
    "self_attn.q",
    "self_attn.k",
    "self_attn.v",
    "self_attn.o",
    "mlp.gate",
    "mlp.up",
    "mlp.down",
  ];
  const linears = linearsOf(shape);
  const layer = (n: number) => [
    ...projections.map((projection, i) => ({
      name: `model.layers.${n}.${projection}_proj.weight`,
      shape: [linears[i]!.outputs, linears[i]!.inputs],
    })),
    { name: `model.layers.${n}.input_layernorm.weight`, shape: [hiddenSize] },
    { name: `model.layers.${n}.post_attention_layernorm.weight`, shape: [hiddenSize] },
  ];
  return [
    { name: "model.embed_tokens.weight", shape: [vocabularySize, hiddenSize] },
    ...Array.from({ length: layers }, (_, n) => layer(n)).flat(),
    { name: "model.norm.weight", shape: [hiddenSize] },
    ...(shape.tiedEmbeddings ? [] : [{ name: "lm_head.weight", shape: [vocabularySize, hiddenSize] }]),
  ];
}

/** A tokenizer.json without merges: one token a byte, each written as GPT-2's visible stand-in for it. */
function byteTokenizer(): unknown {
  let invisible = 0;
  const alphabet = Array.from({ length: BYTES }, (_, byte) => {
    const isVisible = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
    return String.fromCodePoint(isVisible ? byte : BYTES + invisible++);
  });
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: SPECIAL_TOKENS.map((content, i) => ({
      ...{ id: BYTES + i, content, special: true },
      ...{ single_word: false, lstrip: false, rstrip: false, normalized: false },
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      ...{ type: "BPE", dropout: null, unk_token: null, continuing_subword_prefix: null },
      ...{ end_of_word_suffix: null, fuse_unk: false, byte_fallback: false, ignore_merges: false },
      vocab: Object.fromEntries([...alphabet, ...SPECIAL_TOKENS].map((token, id) => [token, id])),
      merges: [],
    },
  };
}

function randomText(length: number, random: Random): string {
  return Array.from({ length }, () => "abcdefgh "[random.integer(9)]).join("");
}
