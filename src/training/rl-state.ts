/** What the RL loop must know to go on as if it had never stopped. Weights and moments are the client's. */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { UserError } from "../base/index.js";
import type { EnvTask } from "../envs/index.js";
import type { RlConfig } from "./rl-config.js";
import { FIRST_TASK, TaskCursor } from "./task-plan.js";

const LOOP_STATE = "rl.json";
const number = z.number();

const RlState = z.strictObject({
  version: z.literal(1),
  /** Steps done. */
  step: z.int().nonnegative(),
  /** The next task. Orders and seeds are functions of seed and place, so no random state is needed. */
  cursor: TaskCursor,
  /** What the algorithm remembers, such as a running baseline. */
  algorithm: z.record(z.string(), number),
  /** Tokens of prompts and completions learned from so far. */
  numTokens: z.int().nonnegative(),
  /** Rollouts so far, with those that were drawn and not learned from. */
  rollouts: z.int().nonnegative(),
  /** What guards measure drift from: the first step's numbers. */
  baseline: z.strictObject({ entropy: number, meanLength: number }).nullable(),
  guards: z.record(z.string(), z.strictObject({ warn: z.int(), limit: z.int() })),
  /** What guards have made of the learning rate: 1, ½, ¼… */
  learningRateScale: z.number().positive(),
  rollbacks: z.int().nonnegative(),
  /** The best validation so far. */
  best: z.strictObject({ step: z.int(), score: number }).nullable(),
  /** Validations since then. */
  validationsSinceBest: z.int().nonnegative(),
  /** What must be the same in the run that goes on. */
  terms: z.record(z.string(), z.union([z.string(), number])),
});
export type RlState = z.infer<typeof RlState>;
export type RlTerms = RlState["terms"];

export function firstRlState(terms: RlTerms): RlState {
  return {
    version: 1,
    step: 0,
    cursor: FIRST_TASK,
    algorithm: {},
    numTokens: 0,
    rollouts: 0,
    baseline: null,
    guards: {},
    learningRateScale: 1,
    rollbacks: 0,
    best: null,
    validationsSinceBest: 0,
    terms,
  };
}

export function writeRlState(directory: string, state: RlState): void {
  writeFileSync(join(directory, LOOP_STATE), `${JSON.stringify(state, null, 1)}\n`);
}

/**
 * The state of a checkpoint, for a run on `terms`.
 *
 * @throws UserError when the checkpoint is not of this loop, or was made on other terms.
 */
export function readRlState(directory: string, terms: RlTerms): RlState {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(join(directory, LOOP_STATE), "utf8"));
  } catch (thrown) {
    throw new UserError(
      `Cannot resume from ${directory}: ${LOOP_STATE} cannot be read, expected a checkpoint of reinforcement learning`,
      { cause: thrown },
    );
  }
  const parsed = RlState.safeParse(json);
  if (!parsed.success) {
    throw new UserError(
      `Cannot resume from ${directory}: ${LOOP_STATE} has another form, expected version 1`,
      { cause: parsed.error },
    );
  }
  for (const [term, value] of Object.entries(terms)) {
    if (parsed.data.terms[term] === value) continue;
    throw new UserError(
      `Cannot resume from ${directory}: its step ${parsed.data.step} was made with ${term} ${parsed.data.terms[term]}, this run has ${value}, expected the same. Start a new run to change it`,
    );
  }
  return parsed.data;
}

/** What may not change from one session of a run to the next. */
export function rlTerms(
  config: Omit<
    RlConfig,
    "environment" | "model" | "output" | "microBatchTokens" | "quantise" | "gradientCheckpointing"
  >,
  given: {
    readonly environment: string;
    readonly tasks: readonly EnvTask[];
    readonly validationTasks: readonly EnvTask[];
  },
): RlTerms {
  const { algorithm, promptsPerStep, groupSize, maxTokens, maxTurns, maxSteps, epochsPerBatch } = config;
  const { updatesPerEpoch, learningRate, schedule, warmupSteps, weightDecay, beta1, beta2, eps } = config;
  const { gradClipNorm, seed, settings, sampling, dynamicSampling, curriculum, validation, guards } = config;
  return {
    environment: given.environment,
    tasks: hashTasks(given.tasks),
    validationTasks: hashTasks(given.validationTasks),
    ...{
      algorithm,
      promptsPerStep,
      groupSize,
      maxTokens,
      maxTurns,
      maxSteps,
      epochsPerBatch,
      updatesPerEpoch,
    },
    ...{ learningRate, schedule, warmupSteps, weightDecay, beta1, beta2, eps, gradClipNorm, seed },
    settings: JSON.stringify(settings),
    sampling: JSON.stringify(sampling),
    dynamicSampling: JSON.stringify(dynamicSampling ?? null),
    curriculum: JSON.stringify(curriculum ?? null),
    validation: JSON.stringify(validation),
    guards: JSON.stringify(guards),
  };
}

function hashTasks(tasks: readonly EnvTask[]): string {
  const hash = createHash("sha256");
  for (const { id } of tasks) hash.update(`${JSON.stringify(id)}\n`);
  return `${tasks.length} tasks, ${hash.digest("hex").slice(0, 16)}`;
}
