/** The K samples of one task: environments begun, one request for their first completions, then each its own way. */
import { setMaxListeners } from "node:events";
import { type Random, UserError } from "../base/index.js";
import type { Env, EnvSet, EnvTask } from "../envs/index.js";
import { modelInputFromTokens, type SampledSequence } from "../protocol/index.js";
import type { ChatMessage, RenderedChat } from "../text/index.js";
import { createWaits, type WaitLimits, type Waits } from "./deadline.js";
import { brokenEpisode, type EpisodeStart, failureOf, runEpisode } from "./episode.js";
import type { Policy } from "./policy.js";
import type { Trajectory, TrajectoryGroup } from "./trajectory.js";

export interface GroupInput extends WaitLimits {
  readonly set: EnvSet;
  readonly task: EnvTask;
  readonly groupSize: number;
  readonly policy: Policy;
  /** All that is random in the group comes from its forks. */
  readonly random: Random;
  readonly maxTurns: number;
}

/** @throws UserError and CancelledError only; what else fails is recorded. Every environment is closed by then. */
export async function rollOutGroup(input: GroupInput): Promise<TrajectoryGroup> {
  const { task, groupSize, random } = input;
  const stop = new AbortController();
  const limits = { ...input, signal: AbortSignal.any([input.signal, stop.signal]) };
  // Every sample listens to it.
  setMaxListeners(0, limits.signal);
  const seed = random.fork("episode").uint32();
  const firstCompletions = createSharedRequest(input, createWaits(limits));
  const trajectories: Trajectory[] = [];
  let thrown: { readonly error: unknown } | undefined;
  const samples = Array.from({ length: groupSize }, async (_, sample) => {
    try {
      const start = { task, sample, seed };
      trajectories[sample] = await runSample(input, start, { firstCompletions, waits: createWaits(limits) });
    } catch (error) {
      thrown ??= { error };
      stop.abort();
    }
  });
  await Promise.all(samples);
  if (thrown !== undefined) throw thrown.error;
  return { taskId: task.id, trajectories };
}

interface SampleContext {
  readonly waits: Waits;
  firstCompletions(messages: readonly ChatMessage[]): Promise<FirstCompletions>;
}

async function runSample(
  { set, policy, random, maxTurns }: GroupInput,
  start: EpisodeStart,
  { waits, firstCompletions }: SampleContext,
): Promise<Trajectory> {
  const { task, sample, seed } = start;
  let creating: Promise<Env> | undefined;
  let env: Env;
  try {
    env = await waits.env(`the beginning of task "${task.id}"`, () => {
      creating = (async () => set.create(task, seed))();
      return creating;
    });
  } catch (error) {
    // An environment that is made too late is nobody's: it is closed as soon as it is there.
    creating?.then(close).catch(() => undefined);
    return brokenEpisode(start, error, "env");
  }
  return closing(env, async () => {
    let messages: readonly ChatMessage[];
    try {
      const observing = async () => env.initialObservation();
      messages = (await waits.env(`the prompt of task "${task.id}"`, observing)).messages;
    } catch (error) {
      return brokenEpisode(start, error, "env");
    }
    let drawn: FirstCompletions;
    try {
      drawn = await firstCompletions(messages);
    } catch (error) {
      return brokenEpisode(start, error, "policy");
    }
    const { opening, sequences } = drawn;
    const seedOfTurn = (turn: number) => random.fork(`sample ${sample} turn ${turn}`).uint32();
    const begun = { ...start, env, messages, opening, first: sequences[sample]! };
    return runEpisode({ ...begun, policy, maxTurns, waits, seedOfTurn });
  });
}

interface FirstCompletions {
  /** The prompt as tokens. */
  readonly opening: RenderedChat;
  readonly sequences: readonly SampledSequence[];
}

/** One request for all samples' first completions, made when the first of them has its prompt. */
function createSharedRequest(
  { set, task, groupSize, policy, random }: GroupInput,
  waits: Waits,
): SampleContext["firstCompletions"] {
  let shared: { readonly prompt: string; readonly drawn: Promise<FirstCompletions> } | undefined;
  const draw = async (messages: readonly ChatMessage[]): Promise<FirstCompletions> => {
    const opening = policy.format.open(messages);
    const prompt = modelInputFromTokens(opening.tokens_T);
    const seed = random.fork("turn 0").uint32();
    const what = `the completions of task "${task.id}"`;
    const request = { seed, numSamples: groupSize };
    const sequences = await waits.policy(what, (signal) => policy.sample(prompt, { ...request, signal }));
    return { opening, sequences };
  };
  return async (messages) => {
    const prompt = JSON.stringify(messages);
    shared ??= { prompt, drawn: draw(messages) };
    if (shared.prompt === prompt) return shared.drawn;
    throw new UserError(
      `Cannot group rollouts of task "${task.id}": environment "${set.name}" begins two episodes of the same seed with different prompts, expected the same. Draw what is random in create() from its seed`,
    );
  };
}

/** Closes the environment once, whatever happens; an environment that cannot be closed has failed. */
async function closing(env: Env, run: () => Promise<Trajectory>): Promise<Trajectory> {
  let trajectory: Trajectory;
  try {
    trajectory = await run();
  } catch (error) {
    await close(env).catch(() => undefined);
    throw error;
  }
  try {
    await close(env);
  } catch (error) {
    return { ...trajectory, ...failureOf(error, "env") };
  }
  return trajectory;
}

async function close(env: Env): Promise<void> {
  await env.close?.();
}
