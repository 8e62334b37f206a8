/** `hone init-model`: a model with fresh weights in Hugging Face layout, ready to be trained from nothing. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { UserError } from "../../base/index.js";
import { initialiseParameter, parameterCount, parametersOf, parseModelConfig } from "../../nn/index.js";
import { sizeOf, type TensorToWrite, writeShardedSafetensors } from "../../tensor/index.js";
import { loadTokenizer, type TextTokenizer } from "../../text/index.js";
import { MODEL_SIZES, type ModelFamilyName, type ModelSizeName } from "../model-sizes.js";
import { fillNewDirectory } from "../new-directory.js";
import { createOutput, formatBytes, type OutputOptions } from "../output.js";
import { copyTokenizer } from "../tokenizer-files.js";

export interface InitModelOptions extends OutputOptions {
  readonly tokenizer: string;
  readonly family: ModelFamilyName;
  readonly size: ModelSizeName;
  readonly hidden?: number;
  readonly layers?: number;
  readonly heads?: number;
  readonly kvHeads?: number;
  readonly ffn?: number;
  readonly context: number;
  readonly tieEmbeddings: boolean;
  readonly seed: number;
  readonly dtype: "float32" | "bfloat16";
}

const ARCHITECTURES: Readonly<Record<ModelFamilyName, string>> = {
  llama: "LlamaForCausalLM",
  mistral: "MistralForCausalLM",
  qwen2: "Qwen2ForCausalLM",
  qwen3: "Qwen3ForCausalLM",
};

export async function initModel(directory: string, options: InitModelOptions): Promise<void> {
  const output = createOutput(options);
  const tokenizer = loadTokenizer(options.tokenizer);
  const raw = rawConfig(options, tokenizer);
  const config = parseModelConfig(raw, "made from the options");
  const tensors = parametersOf(config).map((parameter): TensorToWrite => {
    const { name, shape } = parameter;
    return {
      name,
      dtype: options.dtype === "float32" ? "F32" : "BF16",
      shape,
      read() {
        const values = new Float32Array(sizeOf(shape));
        initialiseParameter(config, parameter, values, options.seed);
        return values;
      },
    };
  });
  await fillNewDirectory(directory, "model", (aside) => {
    writeShardedSafetensors(aside, tensors);
    copyTokenizer(options.tokenizer, aside);
    writeJson(join(aside, "config.json"), raw);
    writeJson(join(aside, "generation_config.json"), specialIds(tokenizer));
  });
  const parameters = parameterCount(config);
  const bytes = parameters * (options.dtype === "float32" ? 4 : 2);
  output.record("model", { directory, parameters, config: raw });
  output.print(
    `Wrote a fresh ${options.family} of ${parameters.toLocaleString("en")} parameters (${formatBytes(bytes)}) to ${directory}`,
  );
}

/** `config.json` as transformers writes it. */
function rawConfig(options: InitModelOptions, tokenizer: TextTokenizer): Record<string, unknown> {
  const size = MODEL_SIZES[options.size];
  const heads = options.heads ?? size.heads;
  const hidden = options.hidden ?? size.hidden;
  if (hidden % heads !== 0) {
    throw new UserError(
      `Cannot make model: hidden size ${hidden} is no multiple of ${heads} heads, expected one. Set --hidden or --heads`,
    );
  }
  return {
    architectures: [ARCHITECTURES[options.family]],
    model_type: options.family,
    vocab_size: tokenizer.vocabSize,
    hidden_size: hidden,
    // The usual 8/3 of the hidden size, rounded up to a multiple of 32, where only the hidden size was given.
    intermediate_size:
      options.ffn ?? (options.hidden === undefined ? size.ffn : Math.ceil((hidden * 8) / 3 / 32) * 32),
    num_hidden_layers: options.layers ?? size.layers,
    num_attention_heads: heads,
    num_key_value_heads: options.kvHeads ?? heads,
    head_dim: hidden / heads,
    hidden_act: "silu",
    max_position_embeddings: options.context,
    rope_theta: 10_000,
    rms_norm_eps: 1e-5,
    initializer_range: 0.02,
    attention_bias: false,
    attention_dropout: 0,
    tie_word_embeddings: options.tieEmbeddings,
    use_cache: true,
    ...(options.family === "mistral" ? { sliding_window: null } : {}),
    ...specialIds(tokenizer),
    torch_dtype: options.dtype,
  };
}

function specialIds({ bosId, eosId, padId }: TextTokenizer): Record<string, number | null> {
  return { bos_token_id: bosId ?? null, eos_token_id: eosId ?? null, pad_token_id: padId ?? null };
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
