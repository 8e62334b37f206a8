/** Our side of the GRPO comparison: a step of the RL loop on random prompts, completions to their full length. */
import { Random } from "../base/index.js";
import { createTrainingClient } from "../engine/index.js";
import type { EnvSet, EnvTask } from "../envs/index.js";
import { rewardOf } from "../rewards/index.js";
import { createPlainFormat } from "../rollouts/index.js";
import { loadTokenizer } from "../text/index.js";
import { createTaskPlan, learn, RlConfig, rollOutStep } from "../training/index.js";
import type { ClosableContender } from "./bench-context.js";

/** As `trl_grpo.py` has it. */
export const GRPO_SHAPE = { prompts: 8, groupSize: 8, promptTokens: 128, completionTokens: 64 } as const;

const LETTERS = "abcdefgh ";
const TASKS = 1600;

/** A turn rolls out a batch and learns from it; nothing is measured or saved beside. */
export async function openGrpoStep(modelDirectory: string, threads: number): Promise<ClosableContender> {
  const config = RlConfig.parse({
    model: modelDirectory,
    environment: { data: "-" },
    promptsPerStep: GRPO_SHAPE.prompts,
    groupSize: GRPO_SHAPE.groupSize,
    maxTokens: GRPO_SHAPE.completionTokens,
    learningRate: 1e-5,
  });
  const client = await createTrainingClient({ model: modelDirectory, threads });
  const sampler = await client.samplingClient();
  // Without a stop token completions run to the limit, as TRL's do with min_new_tokens.
  const format = { ...createPlainFormat(loadTokenizer(modelDirectory)), stop: [] };
  const set = letterSet();
  const plan = createTaskPlan({ tasks: set.tasks, seed: 0 });
  let cursor = { draws: 0, levels: {} };
  let step = 0;
  return {
    name: "hone",
    pids: [process.pid],
    seconds: async () => {
      const started = performance.now();
      step++;
      const rolled = await rollOutStep({ sampler, set, format }, config, { plan, cursor, step, progress: 0 });
      const { updates } = await learn({
        ...{ client, config, isSamplerQuantised: false, groups: rolled.groups, state: {} },
        ...{ learningRate: config.learningRate, step, clock: () => performance.now() },
      });
      const seconds = (performance.now() - started) / 1000;
      if (updates !== 1) throw new Error(`Cannot measure grpo-step: ${updates} updates, expected 1`);
      cursor = rolled.cursor;
      return seconds;
    },
    close: async () => {
      await sampler.close();
      await client.close();
    },
  };
}

/** Random prompts; the reward counts one letter, as that of TRL's side does. */
function letterSet(): EnvSet {
  const random = new Random(0);
  const tasks = Array.from({ length: TASKS }, (_, i): EnvTask => {
    const prompt = Array.from(
      { length: GRPO_SHAPE.promptTokens },
      () => LETTERS[random.integer(LETTERS.length)],
    );
    return { id: String(i), tags: { prompt: prompt.join("") } };
  });
  return {
    name: "letters",
    tasks,
    create: async ({ tags }) => ({
      initialObservation: async () => ({ messages: [{ role: "user", content: tags["prompt"]! }] }),
      step: async ({ text }) => ({
        reward: rewardOf([{ name: "letters", score: text.split("a").length - 1, weight: 0.1 }]),
        observation: null,
        metrics: {},
      }),
    }),
    goldActions: () => ["a".repeat(GRPO_SHAPE.completionTokens)],
    close: async () => undefined,
  };
}
