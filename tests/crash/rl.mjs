/**
 * `npm run test:crash`, second part: trains a small model by rewards, kills the training with SIGKILL at random moments,
 * resumes it, and compares what it leaves with the uninterrupted run, bit for bit: weights, optimizer state, metrics,
 * and every rollout with its tokens and logprobs.
 *
 * usage: node tests/crash/rl.mjs [--runs 10] [--seed N] [--keep]
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { crashTest } from "./harness.mjs";

const CHILD = new URL("./rl-child.mjs", import.meta.url).pathname;
/** Every kind of state that a step may leave to the next: place in the tasks, refills, baseline, guards, best validation. */
const SETTINGS = {
  ...{ maxTokens: 8, maxSteps: 30, promptsPerStep: 8, groupSize: 4, learningRate: 1e-2, seed: 5 },
  ...{ saveEvery: 4, validation: { every: 5 }, keepCheckpoints: 2 },
};
const VARIANTS = [
  {
    name: "GRPO, dynamic sampling, curriculum, two updates",
    settings: {
      ...{ algorithm: "grpo", updatesPerEpoch: 2, epochsPerBatch: 2, dynamicSampling: { budget: 2 } },
      ...{
        curriculum: { order: ["easy", "hard"] },
        guards: { gradNorm: { warn: 0, limit: 0.01, patience: 7 } },
      },
    },
  },
  {
    name: "LoRA, REINFORCE with KL, rollback",
    settings: {
      ...{ algorithm: "reinforce", lora: { rank: 4 }, settings: { beta: 0.05 } },
      guards: { entropy: { warn: 2, limit: 1.5, action: "roll_back", patience: 12 } },
    },
  },
];

await crashTest({
  runs: 10,
  prepare: () =>
    VARIANTS.map(({ name, settings }) => ({
      name,
      // Only what the other guards are for would stop a model that has just been made.
      fill: (project) =>
        writeFileSync(
          join(project, "rl.json"),
          JSON.stringify({
            ...{ model: "-", output: project, environment: { data: "-" } },
            ...{ ...SETTINGS, ...settings, guards: { truncation: null, ...settings.guards } },
          }),
        ),
      command: (project, runId) => [CHILD, project, runId ?? "-"],
    })),
});
