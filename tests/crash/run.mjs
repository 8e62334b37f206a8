/**
 * `npm run test:crash`, first part: trains a small model by SFT, kills the training with SIGKILL at random moments,
 * resumes it, and compares what it leaves with the uninterrupted run, bit for bit: weights, optimizer state, metrics.
 *
 * usage: node tests/crash/run.mjs [--runs 20] [--seed N] [--keep]
 * Odd runs train a LoRA adapter, even ones all weights. Exits with 1 when a single byte differs.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeSftJob } from "../../dist/bench/sft-job.js";
import { crashTest } from "./harness.mjs";

const HONE = new URL("../../dist/cli/main.js", import.meta.url).pathname;
/** Large enough that onnxruntime's threads share the work: races hide in models that one thread computes alone. */
const SHAPE = {
  ...{
    family: "llama",
    hiddenSize: 256,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    ffnWidth: 688,
    vocabularySize: 320,
  },
  ...{ tiedEmbeddings: false, sequences: 16, tokens: 128, loraRank: null },
};
/** Enough that a run spends most of its time training, not starting. */
const STEPS = 60;
const SETTINGS = {
  ...{ maxLength: SHAPE.tokens, batchSize: SHAPE.sequences, epochs: 2, seed: 7 },
  ...{ learningRate: 0.002, schedule: "cosine", warmupSteps: 5, weightDecay: 0.01 },
  ...{ saveEvery: 4, evalEvery: 3, keepCheckpoints: 2 },
};
const VARIANTS = [
  { name: "all weights", settings: {} },
  { name: "LoRA", settings: { lora: { rank: 4 }, gradClipNorm: 0.5 } },
];

await crashTest({
  runs: 20,
  prepare(work) {
    mkdirSync(join(work, "model"));
    const job = writeSftJob(join(work, "model"), SHAPE, STEPS / SETTINGS.epochs);
    return VARIANTS.map(({ name, settings }) => ({
      name,
      fill(project) {
        const data = { train: job.dataFile, validationFraction: 0.1 };
        const config = { model: job.modelDirectory, output: project, data, ...SETTINGS, ...settings };
        // JSON is YAML.
        writeFileSync(join(project, "sft.yaml"), JSON.stringify(config, null, 1));
      },
      command: (project, runId) => [
        ...[HONE, "train", "sft"],
        ...(runId === undefined ? ["-c", join(project, "sft.yaml")] : ["--resume", runId]),
      ],
    }));
  },
});
