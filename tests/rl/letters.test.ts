/** The whole loop on a real model that has just been made: three seeds learn what the reward asks for. */
import { expect, it } from "vitest";
import { createTrainingClient } from "../../src/engine/index.js";
import { createPlainFormat } from "../../src/rollouts/index.js";
import { RlConfig, runRl } from "../../src/training/index.js";
import { createLetterEnv, letterModel, letterTokenizer } from "./letter-env.mjs";

/** Even guessing earns about 1/9; always the same one of four letters 1/4. */
const STEPS = 60;

it.each([1, 2, 3])("seed %i learns to repeat the letter it is shown", async (seed) => {
  const client = await createTrainingClient({ model: { config: letterModel, seed }, threads: 1 });
  const sampler = await client.samplingClient();
  const set = createLetterEnv({ letters: "abcd", length: 5 });
  const rewards: number[] = [];
  try {
    await runRl({
      client,
      source: { sampler, set, format: createPlainFormat(letterTokenizer) },
      tokenizer: letterTokenizer,
      tasks: set.tasks,
      config: RlConfig.parse({
        ...{ model: "-", environment: { data: "-" }, seed, maxSteps: STEPS, maxTokens: 5, saveEvery: 0 },
        ...{ promptsPerStep: 12, groupSize: 12, learningRate: 1e-2, schedule: "linear" },
        guards: { truncation: null },
      }),
      recorder: {
        id: "letters",
        logMetrics: (_, metrics) => void rewards.push(metrics["reward"] ?? Number.NaN),
        logEvent: () => undefined,
        logRollouts: () => undefined,
        saveCheckpoint: async () => ({ path: "" }),
        bestCheckpoint: () => undefined,
      },
      clock: () => performance.now(),
      resumeCommand: "",
    });
  } finally {
    await sampler.close();
    await client.close();
  }
  expect(rewards).toHaveLength(STEPS);
  expect(rewards[0]).toBeLessThan(0.25);
  const last = rewards.slice(-5);
  expect(last.reduce((a, b) => a + b, 0) / last.length).toBeGreaterThan(0.9);
});
