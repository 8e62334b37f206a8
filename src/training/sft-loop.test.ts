import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CancelledError, Random, UserError } from "../base/index.js";
import type { TrainingRow } from "../datasets/index.js";
import {
  type AdamParams,
  type Datum,
  type ForwardBackwardOutput,
  type TrainingClient,
  tokensOf,
} from "../protocol/index.js";
import { openRunStore, type Run, type RunStore } from "../runs/index.js";
import type { Tokenizer } from "../text/index.js";
import { crossEntropyBatch } from "./cross-entropy.js";
import { dryRunSft } from "./dry-run.js";
import { parseConfig } from "./load-config.js";
import { SFT_METRICS } from "./metrics.js";
import { totalStepsOf } from "./row-loop.js";
import { SftConfig } from "./sft-config.js";
import type { SftData } from "./sft-data.js";
import { type RunSftOptions, runSft, type SftLoopConfig, type SftProgress } from "./sft-loop.js";

const V = 8;

/** A bigram model: logits of the next token in a V×V table, trained by AdamW with true gradients. */
class BigramClient implements TrainingClient {
  logits = new Float64Array(V * V);
  gradient = new Float64Array(V * V);
  readonly calls: string[] = [];
  #first = new Float64Array(V * V);
  #second = new Float64Array(V * V);
  #updates = 0;

  async forward(data: readonly Datum[]): Promise<ForwardBackwardOutput> {
    this.calls.push(`forward ${data.length}`);
    return this.#run(data, undefined);
  }
  async forwardBackward(data: readonly Datum[]): Promise<ForwardBackwardOutput> {
    this.calls.push(`forwardBackward ${data.length}`);
    return this.#run(data, this.gradient);
  }
  async optimStep(params: AdamParams): Promise<{ metrics: Record<string, number> }> {
    this.calls.push(`optimStep ${params.learningRate.toPrecision(3)}`);
    const gradNorm = Math.hypot(...this.gradient);
    const clip = params.gradClipNorm > 0 ? Math.min(1, params.gradClipNorm / (gradNorm + 1e-6)) : 1;
    this.#updates++;
    for (let i = 0; i < V * V; i++) {
      const g = this.gradient[i]! * clip;
      this.#first[i] = params.beta1 * this.#first[i]! + (1 - params.beta1) * g;
      this.#second[i] = params.beta2 * this.#second[i]! + (1 - params.beta2) * g * g;
      const m = this.#first[i]! / (1 - params.beta1 ** this.#updates);
      const v = this.#second[i]! / (1 - params.beta2 ** this.#updates);
      this.logits[i]! -=
        params.learningRate * (m / (Math.sqrt(v) + params.eps) + params.weightDecay * this.logits[i]!);
    }
    this.gradient.fill(0);
    return { metrics: { "grad_norm:mean": gradNorm } };
  }
  async saveState(directory: string): Promise<void> {
    this.calls.push("saveState");
    mkdirSync(directory);
    const arrays = [this.logits, this.#first, this.#second].map((array) => [...array]);
    writeFileSync(join(directory, "state.json"), JSON.stringify({ arrays, updates: this.#updates }));
  }
  async loadState(directory: string): Promise<void> {
    const { arrays, updates } = JSON.parse(readFileSync(join(directory, "state.json"), "utf8"));
    [this.logits, this.#first, this.#second] = arrays.map((array: number[]) => Float64Array.from(array));
    this.#updates = updates;
  }
  saveWeights = (): Promise<void> => Promise.reject(new CancelledError("not part of these tests"));
  loadWeights = this.saveWeights;
  async close(): Promise<void> {}

  #run(data: readonly Datum[], gradient: Float64Array | undefined): ForwardBackwardOutput {
    let sum = 0;
    const lossFnOutputs = data.map((datum) => {
      const inputs_T = tokensOf(datum.modelInput);
      const logprobs = inputs_T.map((token, t) => {
        const target = datum.lossFnInputs["target_tokens"]!.data[t]!;
        const weight = datum.lossFnInputs["weights"]!.data[t]!;
        const row = this.logits.subarray(token * V, (token + 1) * V);
        const logZ = Math.log(row.reduce((total, logit) => total + Math.exp(logit), 0));
        sum -= weight * (row[target]! - logZ);
        // d(−w log p_target)/d logit_j = w (p_j − [j = target])
        row.forEach((logit, j) => {
          if (gradient !== undefined)
            gradient[token * V + j]! += weight * (Math.exp(logit - logZ) - (j === target ? 1 : 0));
        });
        return row[target]! - logZ;
      });
      return { logprobs: { data: logprobs, dtype: "float32" as const } };
    });
    return { lossFnOutputs, metrics: { "loss:sum": sum } };
  }
}

/** Rows of a chain in which the next token is mostly the one after; the first half of a row is its prompt. */
function chainRows(count: number, seed: number): TrainingRow[] {
  const random = new Random(seed);
  return Array.from({ length: count }, (_, i) => {
    const length = 4 + random.integer(9);
    const tokens: number[] = [random.integer(V)];
    while (tokens.length < length) {
      tokens.push(random.uniform() < 0.9 ? (tokens.at(-1)! + 1) % V : random.integer(V));
    }
    const lossMask_T = Uint8Array.from(tokens, (_, t) => (t >= length / 2 ? 1 : 0));
    return { tokens_T: Int32Array.from(tokens), lossMask_T, line: i + 1, promptKey: `${i}` };
  });
}

const CONFIG: SftLoopConfig = {
  ...parseConfig("model: m\ndata: { train: t }", "x", SftConfig),
  batchSize: 5,
  epochs: 3,
  learningRate: 0.05,
  warmupSteps: 2,
  evalEvery: 4,
  saveEvery: 6,
  weightDecay: 0.01,
};

let directory = "";
let store: RunStore;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "hone-sft-"));
  store = openRunStore(directory);
});
afterEach(() => {
  store.close();
  rmSync(directory, { recursive: true });
});

const newRun = (): Run =>
  store.createRun({ method: "sft", config: {}, seed: 1, versions: {}, dataHashes: {} });

function fakeClock(): () => number {
  let now = 0;
  return () => (now += 250);
}

const train = chainRows(32, 3);
const validation = chainRows(12, 4);

function optionsOf(client: TrainingClient, recorder: Run, more: Partial<RunSftOptions> = {}): RunSftOptions {
  return {
    client,
    train,
    trainPath: "t.jsonl",
    validation,
    config: CONFIG,
    recorder,
    clock: fakeClock(),
    ...more,
  };
}

/** What must repeat bit for bit: everything but rates and times. */
function repeatable(run: Run): unknown[] {
  return run
    .metrics()
    .flatMap(({ step, name, value, isMachine }) => (isMachine ? [] : [[step, name, value]]));
}

const seriesOf = (run: Run, name: string): number[] =>
  run.metrics().flatMap((record) => (record.name === name ? [record.value] : []));

describe("crossEntropyBatch()", () => {
  it("weighs each trained token 1/N, N over the whole batch, by hand", () => {
    const rows: TrainingRow[] = [
      { tokens_T: Int32Array.of(1, 2, 3, 4), lossMask_T: Uint8Array.of(0, 0, 1, 1), line: 1, promptKey: "" },
      { tokens_T: Int32Array.of(5, 6), lossMask_T: Uint8Array.of(0, 1), line: 2, promptKey: "" },
    ];
    const { datums, supervisedTokens, tokens } = crossEntropyBatch(rows);
    expect({ supervisedTokens, tokens }).toEqual({ supervisedTokens: 3, tokens: 6 });
    expect(datums.map((datum) => tokensOf(datum.modelInput))).toEqual([[1, 2, 3], [5]]);
    expect(datums.map((datum) => datum.lossFnInputs["target_tokens"]!.data)).toEqual([[2, 3, 4], [6]]);
    expect(datums.map((datum) => datum.lossFnInputs["weights"]!.data)).toEqual([[0, 1 / 3, 1 / 3], [1 / 3]]);
  });

  it("gives one gradient however the batch is cut: the counts' own formula", async () => {
    const { datums, supervisedTokens } = crossEntropyBatch(train);
    // With all logits 0: d L / d logit_ij = (n_i / V − n_ij) / N, n counting trained transitions.
    const wanted = new Float64Array(V * V);
    for (const { tokens_T, lossMask_T } of train) {
      for (let t = 1; t < tokens_T.length; t++) {
        if (lossMask_T[t] === 0) continue;
        for (let j = 0; j < V; j++) {
          wanted[tokens_T[t - 1]! * V + j]! += (1 / V - (j === tokens_T[t] ? 1 : 0)) / supervisedTokens;
        }
      }
    }
    for (const size of [32, 7, 1]) {
      const client = new BigramClient();
      for (let i = 0; i < datums.length; i += size) await client.forwardBackward(datums.slice(i, i + size));
      for (const [i, value] of client.gradient.entries()) expect(value).toBeCloseTo(wanted[i]!, 12);
    }
  });
});

describe("runSft()", () => {
  it("calls forward, forwardBackward, optimStep and saveState in order, with the schedule's rates", async () => {
    const client = new BigramClient();
    const result = await runSft(
      optionsOf(client, newRun(), { config: { ...CONFIG, maxSteps: 5, evalEvery: 2, saveEvery: 4 } }),
    );
    const validate = ["forward 5", "forward 5", "forward 2"];
    // Linear with 2 of 5 steps of warmup and peak 0.05: 0, 0.025, then 0.05 · (5 − s) / 3.
    expect(client.calls).toEqual([
      ...validate,
      ...["forwardBackward 5", "optimStep 0.00"],
      ...["forwardBackward 5", "optimStep 0.0250", ...validate],
      ...["forwardBackward 5", "optimStep 0.0500"],
      ...["forwardBackward 5", "optimStep 0.0333", ...validate, "saveState"],
      ...["forwardBackward 5", "optimStep 0.0167", ...validate, "saveState"],
    ]);
    expect(result).toMatchObject({ status: "finished", step: 5, totalSteps: 5 });
  });

  it("learns: from ln V to near the chain's entropy, on training and unseen rows", async () => {
    const run = newRun();
    const client = new BigramClient();
    await runSft(optionsOf(client, run, { config: { ...CONFIG, epochs: 30, learningRate: 0.1 } }));
    const losses = seriesOf(run, "loss/train");
    const validations = seriesOf(run, "loss/validation");
    // All logits 0: every token has probability 1/V, whatever the batch.
    expect(losses[0]).toBeCloseTo(Math.log(V), 12);
    expect(validations[0]).toBeCloseTo(Math.log(V), 12);
    // The chain: 0.9 + 0.1/8 for the next token, 0.1/8 for each other: 0.47 nats.
    const p = 0.9 + 0.1 / V;
    const entropy = -p * Math.log(p) - (1 - p) * Math.log(0.1 / V);
    expect(losses.slice(-7).reduce((sum, loss) => sum + loss, 0) / 7).toBeLessThan(entropy + 0.15);
    expect(validations.at(-1)).toBeLessThan(entropy + 0.5);
  });

  it("validates by the mean over tokens, not over batches or rows", async () => {
    const run = newRun();
    const client = new BigramClient();
    for (const i of client.logits.keys()) client.logits[i] = Math.sin(i);
    const { datums, supervisedTokens } = crossEntropyBatch(validation, 1);
    const whole = (await client.forward(datums)).metrics["loss:sum"]! / supervisedTokens;
    await runSft(optionsOf(client, run, { config: { ...CONFIG, maxSteps: 1 } }));
    expect(seriesOf(run, "loss/validation")[0]).toBeCloseTo(whole, 12);
  });

  it("resumed after Ctrl-C at any step equals the uninterrupted run bit for bit", async () => {
    const whole = new BigramClient();
    const wholeRun = newRun();
    const finished = await runSft(optionsOf(whole, wholeRun));
    expect(finished.totalSteps).toBe(21);
    for (const stop of [1, 4, 6, 7, 13, 20]) {
      let run = newRun();
      const abort = new AbortController();
      const stopped = await runSft(
        optionsOf(new BigramClient(), run, {
          signal: abort.signal,
          onProgress: (progress) => {
            if (progress.kind === "step" && progress.step === stop) abort.abort();
          },
        }),
      );
      expect(stopped).toMatchObject({
        status: "interrupted",
        step: stop,
        message: `Stopped after step ${stop} of 21, with a checkpoint. Resume with: hone train sft --resume ${run.id}`,
      });
      run.close("interrupted");
      run = store.resumeRun(run.id);
      const client = new BigramClient();
      const result = await runSft(optionsOf(client, run, { resumeFrom: run.latestCheckpoint()!.directory }));
      expect(result).toEqual(finished);
      expect(client.logits).toEqual(whole.logits);
      expect(repeatable(run)).toEqual(repeatable(wholeRun));
    }
  });

  it("resumed after a crash between checkpoints equals the uninterrupted run bit for bit", async () => {
    const whole = new BigramClient();
    const wholeRun = newRun();
    await runSft(optionsOf(whole, wholeRun));
    for (const crash of [2, 9, 17]) {
      let run = newRun();
      const dying = new BigramClient();
      const optimStep = dying.optimStep.bind(dying);
      let steps = 0;
      dying.optimStep = (params) =>
        ++steps === crash ? Promise.reject(new Error("worker died")) : optimStep(params);
      await expect(runSft(optionsOf(dying, run))).rejects.toThrow("worker died");
      run.close("failed");
      run = store.resumeRun(run.id);
      const checkpoint = run.latestCheckpoint();
      expect(checkpoint?.step).toBe({ 2: undefined, 9: 6, 17: 12 }[crash]);
      const client = new BigramClient();
      await runSft(
        optionsOf(client, run, checkpoint === undefined ? {} : { resumeFrom: checkpoint.directory }),
      );
      expect(client.logits).toEqual(whole.logits);
      expect(repeatable(run)).toEqual(repeatable(wholeRun));
    }
  });

  it("keeps the best checkpoint by validation loss beside the last", async () => {
    const run = newRun();
    // A rate that overshoots late: the last is not the best.
    const config = { ...CONFIG, schedule: "constant" as const, learningRate: 3, epochs: 4, saveEvery: 3 };
    await runSft(optionsOf(new BigramClient(), run, { config }));
    const scored = run
      .metrics()
      .filter(
        ({ name, step }) => name === "loss/validation" && (step === 28 || (step > 0 && step % 3 === 0)),
      );
    const best = scored.reduce((a, b) => (b.value < a.value ? b : a));
    expect(best.step).not.toBe(28);
    const kept = store.checkpoints(run.id).filter(({ isKept }) => isKept);
    expect(kept.map(({ step }) => step)).toEqual([best.step, 28]);
    expect(kept[0]!.score).toBe(best.value);
  });

  it("records only metrics that are defined, rates apart from what repeats", async () => {
    const run = newRun();
    await runSft(optionsOf(new BigramClient(), run));
    const definitions: Readonly<Record<string, { readonly isMachine: boolean }>> = SFT_METRICS;
    const seen = new Set<string>();
    for (const { name, isMachine } of run.metrics()) {
      expect({ name, isMachine }).toEqual({ name, isMachine: definitions[name]?.isMachine });
      seen.add(name);
    }
    expect([...seen].sort()).toEqual(Object.keys(SFT_METRICS).sort());
    const tokens = train.reduce((sum, { tokens_T }) => sum + tokens_T.length, 0);
    expect(seriesOf(run, "tokens/total").at(-1)).toBe(3 * tokens);
    expect(seriesOf(run, "data/epoch").slice(0, 7)).toEqual([5, 10, 15, 20, 25, 30, 32].map((n) => n / 32));
  });

  it("tells progress, rate and time left", async () => {
    const seen: SftProgress[] = [];
    await runSft(
      optionsOf(new BigramClient(), newRun(), {
        config: { ...CONFIG, maxSteps: 4 },
        validation: [],
        onProgress: (progress) => seen.push(progress),
      }),
    );
    expect(seen.map(({ kind }) => kind)).toEqual(["start", "step", "step", "step", "step", "checkpoint"]);
    const [, first, , , last] = seen;
    // The clock ticks 250 ms at every reading; a step reads it when it starts and when it ends.
    expect(first).toMatchObject({
      step: 1,
      totalSteps: 4,
      epoch: 5 / 32,
      learningRate: 0,
      secondsLeft: 0.75,
    });
    expect(last).toMatchObject({ step: 4, secondsLeft: 0 });
  });

  it("stops before the update when a loss is not finite, naming the row, the last checkpoint kept", async () => {
    const run = newRun();
    const client = new BigramClient();
    const forwardBackward = client.forwardBackward.bind(client);
    let steps = 0;
    client.forwardBackward = async (data) => {
      const output = await forwardBackward(data);
      if (++steps < 9) return output;
      const logprobs = {
        data: output.lossFnOutputs[1]!["logprobs"]!.data.map(() => Number.NaN),
        dtype: "float32" as const,
      };
      return {
        lossFnOutputs: output.lossFnOutputs.map((outputs, i) => (i === 1 ? { logprobs } : outputs)),
        metrics: { "loss:sum": Number.NaN },
      };
    };
    const thrown = await runSft(optionsOf(client, run)).catch((error: unknown) => error);
    expect(thrown).toBeInstanceOf(UserError);
    const line = /t\.jsonl:(\d+)/.exec((thrown as UserError).message)![1];
    expect((thrown as UserError).message).toBe(
      `Cannot do step 9: the loss is NaN, expected a finite number; it comes from t.jsonl:${line}. The weights were not updated. The last checkpoint is untouched; resume from it with a lower learningRate, or look at the rows`,
    );
    expect(run.events()).toMatchObject([
      { kind: "non_finite_loss", detail: { step: 9, loss: "NaN", lines: [Number(line)] } },
    ]);
    expect(client.calls.filter((call) => call.startsWith("optimStep"))).toHaveLength(8);
    expect(run.latestCheckpoint()?.step).toBe(6);
  });

  it("stops when the gradient is not finite though the loss is", async () => {
    const run = newRun();
    const client = new BigramClient();
    client.optimStep = async () => ({ metrics: { "grad_norm:mean": Number.POSITIVE_INFINITY } });
    await expect(runSft(optionsOf(client, run))).rejects.toThrow(
      /^Cannot go on after step 1: the gradient norm is Infinity though the loss is [\d.]+, expected a finite number; the batch was t\.jsonl:\d+, .*\. The last checkpoint is untouched; resume from it with a lower learningRate, or look at the rows$/,
    );
    expect(run.latestCheckpoint()).toBeUndefined();
  });

  it("adds the rows to what the client says when it refuses a gradient", async () => {
    const client = new BigramClient();
    client.optimStep = () => Promise.reject(new UserError("the gradient of q_proj is NaN"));
    await expect(runSft(optionsOf(client, newRun(), { train: train.slice(0, 2) }))).rejects.toThrow(
      /^Cannot do step 1: the gradient of q_proj is NaN; the batch was t\.jsonl:[12], t\.jsonl:[12]\. The last checkpoint is untouched; resume from it with a lower learningRate, or look at the rows$/,
    );
  });

  it("refuses to resume on other terms or other data", async () => {
    const run = newRun();
    await runSft(optionsOf(new BigramClient(), run, { config: { ...CONFIG, maxSteps: 6 } }));
    const resumeFrom = run.latestCheckpoint()!.directory;
    const resume = (more: Partial<RunSftOptions>): Promise<unknown> =>
      runSft(optionsOf(new BigramClient(), run, { config: { ...CONFIG, maxSteps: 6 }, resumeFrom, ...more }));
    await expect(resume({ config: { ...CONFIG, maxSteps: 6, batchSize: 4 } })).rejects.toThrow(
      `Cannot resume from ${resumeFrom}: its step 6 was made with batchSize 5, this run has 4, expected the same. Start a new run to change it`,
    );
    await expect(resume({ train: [...train].reverse() })).rejects.toThrow("was made with training data ");
    await expect(resume({ resumeFrom: directory })).rejects.toThrow(
      `Cannot resume from ${directory}: sft.json cannot be read, expected a checkpoint of SFT`,
    );
  });
});

describe("totalStepsOf()", () => {
  it("rounds up broken epochs and obeys maxSteps", () => {
    expect(totalStepsOf(32, { batchSize: 5, epochs: 3, maxSteps: undefined })).toBe(21);
    expect(totalStepsOf(32, { batchSize: 5, epochs: 0.5, maxSteps: undefined })).toBe(4);
    expect(totalStepsOf(32, { batchSize: 5, epochs: 3, maxSteps: 2 })).toBe(2);
    expect(totalStepsOf(3, { batchSize: 5, epochs: 1, maxSteps: 9 })).toBe(1);
  });
});

describe("dryRunSft()", () => {
  const tokenizer: Tokenizer = {
    vocabSize: V,
    hash: "letters",
    encode: (text) => [...text].map((letter) => letter.charCodeAt(0) - 97),
    decode: (tokens) => tokens.map((token) => String.fromCharCode(97 + token)).join(""),
  };
  const rows = chainRows(32, 3);
  const lengths = rows.map(({ tokens_T }) => tokens_T.length);
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const { supervisedTokens } = crossEntropyBatch(rows);
  const statistics = {
    rows: 32,
    tokens,
    supervisedTokens,
    length: { min: 4, median: 8, p95: 12, max: 12 },
    truncatedRows: 0,
    droppedTokens: 0,
    unsupervisedRows: { count: 0 },
    rowsThatEnd: 32,
    boundaryMerges: 0,
  };
  const dataOf = (warnings: readonly string[]): SftData => ({
    train: rows,
    validation: [],
    dataset: { path: "t.jsonl", shape: "text", trainOn: "all", rows, statistics, contentHash: "" },
    warnings,
    dataHashes: {},
  });

  it("warns when the loss is above that of guessing evenly", async () => {
    const client = new BigramClient();
    // Sure of the wrong token everywhere: the one before instead of the one after.
    for (let i = 0; i < V; i++) client.logits[i * V + ((i + V - 1) % V)] = 20;
    const config = parseConfig("model: m\ndata: { train: t.jsonl }", "x", SftConfig);
    const { text, loss } = await dryRunSft({
      client,
      tokenizer,
      config,
      clock: fakeClock(),
      data: dataOf([]),
    });
    expect(loss).toBeGreaterThan(10);
    expect(text.split("\n")).toContain(
      "Warning: The loss is above that of guessing evenly: does the tokenizer belong to the model?",
    );
  });

  it("does two updates on ten rows, times the second and shows rows, arithmetic, memory and time", async () => {
    const client = new BigramClient();
    const config = parseConfig("model: m\ndata: { train: t.jsonl }\nbatchSize: 4", "x", SftConfig);
    const report = await dryRunSft({
      client,
      tokenizer,
      config,
      clock: fakeClock(),
      memoryBytes: 3 * 2 ** 29,
      data: dataOf(["2 rows are odd"]),
    });
    const update = ["forwardBackward 10", "optimStep 0.0000200"];
    expect(client.calls).toEqual([...update, ...update]);
    // One tick of the clock, around the second update: 250 ms for ten rows.
    const ten = lengths.slice(0, 10).reduce((sum, length) => sum + length, 0);
    expect(report.tokensPerSecond).toBe(ten * 4);
    expect(report.totalSteps).toBe(24);
    expect(report.secondsEstimate).toBeCloseTo((3 * tokens) / (ten * 4), 9);
    const preview = report.text.split("\n\n").slice(1, 4);
    const letters = tokenizer.decode([...rows[0]!.tokens_T]);
    const half = Math.ceil(letters.length / 2);
    expect(preview[0]).toBe(
      `Row of line 1: ${letters.length} tokens, ${letters.length - half} with a loss\n${letters.slice(0, half)}«${letters.slice(half)}»`,
    );
    for (const line of [
      "The first 3 rows; the tokens with a loss are in «…»:",
      "rows to train on        32 (0 for validation)",
      `tokens                  ${tokens}, ${supervisedTokens} with a loss (${((100 * supervisedTokens) / tokens).toFixed(1)} %)`,
      "steps per epoch         32 ÷ 4 = 8",
      "steps                   24 in 3 epochs",
      "learning rate           0.00002 (all weights)",
      "loss now                2.0794 nats per token (guessing evenly: 2.0794)",
      "memory                  about 1.50 GiB",
      "loss = −(1/N) Σ logprob(token) over the N tokens of the batch that have a loss",
      "Warning: 2 rows are odd",
    ]) {
      expect(report.text.split("\n")).toContain(line);
    }
  });
});
