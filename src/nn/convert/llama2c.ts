/**
 * Reads a llama2.c checkpoint (its first, headerless-magic format): seven int32, then float32 tensors in a fixed
 * order, each stacked over the layers. A negative vocabulary size means that the output matrix is its own.
 */
import { UserError } from "../../base/index.js";
import { type ByteFile, firstNonFinite, openByteFile, sizeOf } from "../../tensor/index.js";
import type { ConvertedModel, ConvertedTensor } from "./converted-model.js";
import { halvesFromPairs } from "./rotary-rows.js";

const HEADER_BYTES = 28;
/** "ak42", which begins the later formats. */
const VERSIONED_MAGIC = 0x616b3432;
const MAX_SIZE = 2 ** 24;

interface Sizes {
  readonly hidden: number;
  readonly ffn: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headWidth: number;
  readonly vocabulary: number;
  readonly context: number;
  readonly isTied: boolean;
}

/**
 * Opens a llama2.c `.bin` file as a Llama model in Hugging Face's layout. Its tokenizer is another file.
 *
 * @throws UserError when the header is implausible or the file's size is not what the header implies
 */
export function readLlama2c(path: string): ConvertedModel {
  const file = openByteFile(path, "llama2.c checkpoint");
  try {
    const sizes = readSizes(file);
    return { config: configOf(sizes), tensors: tensorsOf(file, sizes), close: () => file.close() };
  } catch (thrown) {
    file.close();
    throw thrown;
  }
}

function readSizes(file: ByteFile): Sizes {
  const refuse = (found: string, expected: string): UserError =>
    new UserError(`Cannot read llama2.c checkpoint "${file.path}": ${found}, expected ${expected}`);
  if (file.sizeBytes < HEADER_BYTES) {
    throw refuse(`it has ${file.sizeBytes} bytes`, `at least ${HEADER_BYTES}, the header`);
  }
  const bytes = new Uint8Array(HEADER_BYTES);
  file.readInto(bytes, 0);
  const header = new DataView(bytes.buffer);
  const field = (i: number): number => header.getInt32(i * 4, true);
  if (header.getUint32(0, true) === VERSIONED_MAGIC) {
    throw refuse(`it is of version ${field(1)}`, "version 0. Export it with --version 0");
  }
  const names = ["dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len"];
  for (const [i, name] of names.entries()) {
    const value = name === "vocab_size" ? Math.abs(field(i)) : field(i);
    if (value >= 1 && value <= MAX_SIZE) continue;
    throw refuse(`byte ${i * 4} gives ${name} ${field(i)}`, `a number from 1 to ${MAX_SIZE}`);
  }
  const [hidden, heads, kvHeads] = [field(0), field(3), field(4)];
  if (hidden % (2 * heads) !== 0) {
    throw refuse(`dim ${hidden} with n_heads ${heads}`, "heads of an even width that divide dim");
  }
  if (heads % kvHeads !== 0) {
    throw refuse(`n_heads ${heads} with n_kv_heads ${kvHeads}`, "n_kv_heads that divide n_heads");
  }
  return {
    hidden,
    ffn: field(1),
    layers: field(2),
    heads,
    kvHeads,
    headWidth: hidden / heads,
    vocabulary: Math.abs(field(5)),
    context: field(6),
    isTied: field(5) > 0,
  };
}

function configOf(sizes: Sizes): Record<string, unknown> {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: sizes.vocabulary,
    hidden_size: sizes.hidden,
    intermediate_size: sizes.ffn,
    num_hidden_layers: sizes.layers,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    head_dim: sizes.headWidth,
    max_position_embeddings: sizes.context,
    hidden_act: "silu",
    // Constants of llama2.c, which does not store them.
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    attention_bias: false,
    mlp_bias: false,
    tie_word_embeddings: sizes.isTied,
    bos_token_id: 1,
    eos_token_id: 2,
  };
}

/** A stack of equal tensors in the file; `%` in the name is the layer, a name without it is one tensor. */
interface Stack {
  readonly name: string | null;
  readonly shape: readonly number[];
  /** Set on query and key matrices, whose rows are reordered. */
  readonly rotaryHeads?: number;
}

/** In the file's order. The angles of the rotation, which follow from the sizes, have no name. */
function stacksOf({ hidden, ffn, heads, kvHeads, headWidth, vocabulary, context, isTied }: Sizes): Stack[] {
  const kv = kvHeads * headWidth;
  const layer = (part: string): string => `model.layers.%.${part}.weight`;
  const angles: Stack = { name: null, shape: [context, headWidth / 2] };
  return [
    { name: "model.embed_tokens.weight", shape: [vocabulary, hidden] },
    { name: layer("input_layernorm"), shape: [hidden] },
    { name: layer("self_attn.q_proj"), shape: [hidden, hidden], rotaryHeads: heads },
    { name: layer("self_attn.k_proj"), shape: [kv, hidden], rotaryHeads: kvHeads },
    { name: layer("self_attn.v_proj"), shape: [kv, hidden] },
    { name: layer("self_attn.o_proj"), shape: [hidden, hidden] },
    { name: layer("post_attention_layernorm"), shape: [hidden] },
    { name: layer("mlp.gate_proj"), shape: [ffn, hidden] },
    { name: layer("mlp.down_proj"), shape: [hidden, ffn] },
    { name: layer("mlp.up_proj"), shape: [ffn, hidden] },
    { name: "model.norm.weight", shape: [hidden] },
    angles, // cosines
    angles, // sines
    ...(isTied ? [] : [{ name: "lm_head.weight", shape: [vocabulary, hidden] }]),
  ];
}

function tensorsOf(file: ByteFile, sizes: Sizes): ConvertedTensor[] {
  const tensors: ConvertedTensor[] = [];
  let offset = HEADER_BYTES;
  for (const { name, shape, rotaryHeads } of stacksOf(sizes)) {
    const bytes = sizeOf(shape) * 4;
    const layers = name?.includes("%") === true ? sizes.layers : 1;
    // The products stay far below 2^53 for one tensor (2^50), so a wrong size is found by the sum.
    for (let layer = 0; layer < layers && offset <= file.sizeBytes; layer++) {
      if (name !== null) {
        const place = { name: name.replace("%", String(layer)), shape, offset };
        tensors.push({
          name: place.name,
          shape,
          read: () => readTensor(file, place, { sizes, rotaryHeads }),
        });
      }
      offset += bytes;
    }
  }
  if (offset === file.sizeBytes) return tensors;
  const { hidden, ffn, layers, heads, kvHeads, vocabulary, context } = sizes;
  const expected = offset > file.sizeBytes ? `at least ${offset}` : String(offset);
  throw new UserError(
    `Cannot read llama2.c checkpoint "${file.path}": it has ${file.sizeBytes} bytes, expected ${expected} for the header's dim ${hidden}, hidden_dim ${ffn}, n_layers ${layers}, n_heads ${heads}, n_kv_heads ${kvHeads}, vocab_size ${sizes.isTied ? "" : "-"}${vocabulary}, seq_len ${context}`,
  );
}

function readTensor(
  file: ByteFile,
  { name, shape, offset }: { name: string; shape: readonly number[]; offset: number },
  { sizes, rotaryHeads }: { sizes: Sizes; rotaryHeads: number | undefined },
): Float32Array {
  const data = new Float32Array(sizeOf(shape));
  file.readInto(new Uint8Array(data.buffer), offset);
  const bad = firstNonFinite(data);
  if (bad >= 0) {
    throw new UserError(
      `Cannot use tensor "${name}" of "${file.path}": element ${bad} (byte ${offset + bad * 4}) is ${data[bad]}, expected finite numbers`,
    );
  }
  if (rotaryHeads === undefined) return data;
  return halvesFromPairs(data, { heads: rotaryHeads, headWidth: sizes.headWidth });
}
