/** Runs a model over new tokens of cached sequences: inputs of the graph, its executables, what comes out. */
import { CACHE_PAGE } from "../../graph/index.js";
import { ropeTables } from "../../nn/index.js";
import { type HostTensor, hostTensor } from "../../tensor/index.js";
import { Executable } from "../executable.js";
import type { Runtime } from "../session/index.js";
import type { ModelSpec } from "../training-graph.js";
import type { CachedSequence } from "./cached-sequence.js";
import { compileDecoding, newKeysName, newValuesName, writesCache } from "./decoding-graph.js";
import { type KvCache, keysName } from "./kv-cache.js";
import { PackedWeights } from "./packed-weights.js";

/** What a model is made of and what runs it; weights are read, never written. */
export interface SamplingModel {
  readonly spec: ModelSpec;
  readonly tensors: Readonly<Record<string, HostTensor>>;
  readonly runtime: Runtime;
  readonly threads?: number;
  /** Adapters on the base model, by name. */
  readonly adapters: ReadonlyMap<string, ModelAdapter>;
  /** Whether the weights change, while nothing is being sampled. @default false */
  readonly isTrained?: boolean;
}

export interface ModelAdapter {
  readonly spec: ModelSpec;
  readonly tensors: Readonly<Record<string, HostTensor>>;
}

/** New tokens of one sequence. */
export interface Continuation {
  readonly sequence: CachedSequence;
  readonly tokens_T: readonly number[];
  /** Whether the logprobs of all tokens but the first are wanted. */
  readonly scored: boolean;
}

export interface RunResult {
  /** Logits after the last token of each continuation, [V] each; valid until the next run. */
  readonly logits: readonly Float32Array[];
  /** For the continuations that are scored, in order: logprobs of their tokens from the second on. */
  readonly promptLogprobs: readonly (readonly number[])[];
}

export class ModelRunner {
  readonly #model: SamplingModel;
  readonly #cache: KvCache;
  readonly #packed: PackedWeights;
  readonly #executables = new Map<string, Promise<Executable>>();
  readonly #fixed = new Map<string | null, Record<string, HostTensor>>();
  #angles: { readonly rows: number; readonly cos: HostTensor; readonly sin: HostTensor };
  #logits = new Float32Array(0);

  constructor(model: SamplingModel, cache: KvCache) {
    this.#model = model;
    this.#cache = cache;
    this.#packed = new PackedWeights(model);
    this.#angles = this.#anglesFor(64);
  }

  /**
   * Computes the continuations together; their tokens are in the cache afterwards. What comes out for one does not depend
   * on the others, only on whether it is a prompt.
   */
  async run(
    kind: "prompts" | "steps",
    adapter: string | null,
    continuations: readonly Continuation[],
  ): Promise<RunResult> {
    const { runtime, adapters } = this.#model;
    const { spec, tensors } = adapter === null ? this.#model : adapters.get(adapter)!; // checked with the request
    const { config } = spec;
    for (const { sequence, tokens_T } of continuations) sequence.prepare(tokens_T.length);
    const scores = continuations.some(({ scored, tokens_T }) => scored && tokens_T.length > 1);
    if (kind === "steps") await this.#packed.refresh();
    const executable = await this.#executable(kind, spec, scores);
    const inputs = this.#inputs(continuations, executable);
    const rows = continuations.length * config.vocabularySize;
    if (this.#logits.length < rows) this.#logits = new Float32Array(rows);
    const logits = this.#logits.subarray(0, rows);
    const outputs = await executable.run(
      Object.assign(this.#fixedInputs(adapter, tensors), this.#packed.tensors, inputs),
      executable.outputNames,
      { logits: hostTensor("float32", [continuations.length, config.vocabularySize], logits) },
    );
    if (!writesCache(config, runtime.lowering)) this.#store(continuations, outputs);
    for (const { sequence, tokens_T } of continuations) sequence.advance(tokens_T.length);
    return {
      logits: continuations.map((_, i) =>
        logits.subarray(i * config.vocabularySize, (i + 1) * config.vocabularySize),
      ),
      promptLogprobs: scores ? splitScores(continuations, outputs["promptLogprobs"]!) : [],
    };
  }

  /** Weights and cache, by the names of inputs; a step's own are put in beside them, over those of the step before. */
  #fixedInputs(adapter: string | null, tensors: SamplingModel["tensors"]): Record<string, HostTensor> {
    let fixed = this.#fixed.get(adapter);
    if (fixed === undefined) {
      fixed = { ...tensors, ...this.#cache.tensors };
      this.#fixed.set(adapter, fixed);
    }
    return fixed;
  }

  /** Says that nothing is being sampled: a trainer may change the weights now. */
  rest(): void {
    this.#packed.release();
  }

  async close(): Promise<void> {
    this.#packed.close();
    for (const executable of this.#executables.values()) (await executable).release();
    this.#executables.clear();
  }

  #inputs(
    continuations: readonly Continuation[],
    executable: Executable,
  ): Readonly<Record<string, HostTensor>> {
    const count = continuations.length;
    const total = continuations.reduce((sum, { tokens_T }) => sum + tokens_T.length, 0);
    const tableWidth = Math.max(...continuations.map(({ sequence }) => sequence.pages.length));
    const tokens = new BigInt64Array(total);
    const angles = new BigInt64Array(total);
    const sequences = new Int32Array(total);
    const positions = new Int32Array(total);
    const tables = new Int32Array(count * tableWidth);
    const wanted = new BigInt64Array(count);
    const [scored, targets]: [number[], number[]] = [[], []];
    let t = 0;
    let last = 0;
    for (const [i, { sequence, tokens_T, scored: isScored }] of continuations.entries()) {
      tables.set(sequence.pages, i * tableWidth);
      for (const [at, token] of tokens_T.entries()) {
        const position = sequence.length + at;
        tokens[t] = BigInt(token);
        angles[t] = BigInt(position);
        sequences[t] = i;
        positions[t] = position;
        if (isScored && at > 0) {
          scored.push(t - 1);
          targets.push(token);
        }
        last = Math.max(last, position);
        t++;
      }
      wanted[i] = BigInt(t - 1);
    }
    if (last >= this.#angles.rows) this.#angles = this.#anglesFor(2 * last);
    return {
      tokens: hostTensor("int64", [total], tokens),
      angles: hostTensor("int64", [total], angles),
      cos: this.#angles.cos,
      sin: this.#angles.sin,
      sequences: hostTensor("int32", [total], sequences),
      positions: hostTensor("int32", [total], positions),
      tables: hostTensor("int32", [count, tableWidth], tables),
      wanted: hostTensor("int64", [count], wanted),
      ...(scored.length === 0 ? {} : { scored: int64(scored), targets: int64(targets) }),
      ...(executable.inputNames.includes("places") ? rowInputs(continuations, tableWidth) : {}),
    };
  }

  /** Rotary tables for at least so many positions. Requests end at the model's positions, so no angle is stretched. */
  #anglesFor(positions: number): {
    readonly rows: number;
    readonly cos: HostTensor;
    readonly sin: HostTensor;
  } {
    const { rope, headWidth, maxPositions } = this.#model.spec.config;
    const { cos, sin, rows } = ropeTables(rope, [Math.min(positions, maxPositions)]);
    const shape = [rows, headWidth / 2];
    return { rows, cos: hostTensor("float32", shape, cos), sin: hostTensor("float32", shape, sin) };
  }

  #executable(kind: "prompts" | "steps", spec: ModelSpec, scoresPrompt: boolean): Promise<Executable> {
    // Adapters of one shape share a graph: their matrices are inputs.
    const key = `${kind} ${JSON.stringify(spec.lora)} ${scoresPrompt}`;
    let executable = this.#executables.get(key);
    if (executable === undefined) {
      const { runtime, threads } = this.#model;
      const packed = kind === "steps" ? this.#packed.parameters : [];
      const model = compileDecoding(spec, { lowering: runtime.lowering, scoresPrompt, packed });
      executable = Executable.create(runtime, model, {
        batchInvariant: kind === "prompts" ? "many rows" : "few rows",
        ...(threads === undefined ? {} : { threads }),
      });
      this.#executables.set(key, executable);
    }
    return executable;
  }

  #store(continuations: readonly Continuation[], outputs: Readonly<Record<string, HostTensor>>): void {
    for (let layer = 0; this.#cache.tensors[keysName(layer)] !== undefined; layer++) {
      const k = outputs[newKeysName(layer)]!.data as Float32Array; // the graph's outputs are float32
      const v = outputs[newValuesName(layer)]!.data as Float32Array;
      let t = 0;
      for (const { sequence, tokens_T } of continuations) {
        for (let at = 0; at < tokens_T.length; at++) {
          const position = sequence.length + at;
          const page = sequence.pages[Math.floor(position / CACHE_PAGE)]!;
          this.#cache.store(layer, { page, slot: position % CACHE_PAGE }, k, v, t++);
        }
      }
    }
  }
}

/** How the tokens fill rows as long as the longest continuation. */
function rowInputs(continuations: readonly Continuation[], tableWidth: number): Record<string, HostTensor> {
  const length = Math.max(...continuations.map(({ tokens_T }) => tokens_T.length));
  const rows = new Array<number>(continuations.length * length).fill(0);
  const places: number[] = [];
  for (const [i, { tokens_T }] of continuations.entries()) {
    for (let at = 0; at < tokens_T.length; at++) {
      rows[i * length + at] = places.length;
      places.push(i * length + at);
    }
  }
  return {
    pastLengths: int64(continuations.map(({ sequence }) => sequence.length)),
    rows: int64(rows),
    places: int64(places),
    columns: int64(Array.from({ length }, (_, column) => column)),
    keyColumns: int64(Array.from({ length: CACHE_PAGE * tableWidth }, (_, column) => column)),
  };
}

function splitScores(continuations: readonly Continuation[], logprobs: HostTensor): number[][] {
  const values = logprobs.data as Float32Array; // the graph's outputs are float32
  let at = 0;
  return continuations
    .filter(({ scored }) => scored)
    .map(({ tokens_T }) => {
      at += tokens_T.length - 1;
      return Array.from(values.subarray(at - tokens_T.length + 1, at));
    });
}

function int64(values: readonly number[]): HostTensor<"int64"> {
  return hostTensor("int64", [values.length], BigInt64Array.from(values, BigInt));
}
