/**
 * One episode from its first completion on: steps in the environment, further completions, and the record of it all.
 * Whatever fails is recorded at its boundary and makes the episode's reward invalid; only what the user must mend, and
 * the user's own signal, is thrown.
 */
import { CancelledError, messageOf, type RolloutBoundary, RolloutError, UserError } from "../base/index.js";
import type { Env, EnvTask, StepResult } from "../envs/index.js";
import { modelInputFromTokens, type SampledSequence } from "../protocol/index.js";
import { invalidReward, totalReward } from "../rewards/index.js";
import type { ChatMessage, RenderedChat } from "../text/index.js";
import type { Waits } from "./deadline.js";
import { createLedger } from "./ledger.js";
import type { Policy } from "./policy.js";
import type { Trajectory, Turn } from "./trajectory.js";

export interface EpisodeStart {
  readonly task: EnvTask;
  readonly sample: number;
  readonly seed: number;
}

export interface EpisodeInput extends EpisodeStart {
  readonly env: Env;
  /** What the environment said first. */
  readonly messages: readonly ChatMessage[];
  /** The same as tokens. */
  readonly opening: RenderedChat;
  readonly first: SampledSequence;
  readonly policy: Policy;
  readonly maxTurns: number;
  readonly waits: Waits;
  /** The seed of the completion of a turn, from 1 on. */
  seedOfTurn(turn: number): number;
}

/** Runs an episode whose first completion is drawn. Does not close the environment. */
export async function runEpisode(input: EpisodeInput): Promise<Trajectory> {
  const { env, policy, waits, task } = input;
  const { format } = policy;
  const ledger = createLedger();
  const turns: Turn[] = [];
  let messages = input.messages;
  let sequence = input.first;
  let isTruncated = false;
  let boundary: RolloutBoundary = "policy";
  try {
    ledger.addRendered(input.opening);
    for (;;) {
      boundary = "policy";
      ledger.addSampled(sequence);
      const text = format.textOf(sequence.tokens);
      const turn = { text, stopReason: sequence.stopReason };
      boundary = "env";
      let result: StepResult;
      try {
        const action = { ...turn, tokenCount: sequence.tokens.length };
        result = await waits.env(`a step of task "${task.id}"`, async () => env.step(action));
      } catch (error) {
        turns.push({ ...turn, reward: invalidOf(error, boundary), metrics: {} });
        throw error;
      }
      turns.push({ ...turn, reward: result.reward, metrics: result.metrics });
      isTruncated = sequence.stopReason === "length";
      if (result.observation === null || result.reward.kind === "invalid") break;
      if (turns.length >= input.maxTurns) {
        isTruncated = true;
        break;
      }
      const observation = result.observation.messages;
      boundary = "policy";
      const completion = { text, tokens_T: sequence.tokens };
      ledger.addRendered(format.follow({ messages, completion, observation }));
      messages = [...messages, { role: "assistant", content: text }, ...observation];
      const prompt = modelInputFromTokens(ledger.tokens_T);
      const seed = input.seedOfTurn(turns.length);
      const what = `completion ${turns.length + 1} of task "${task.id}"`;
      const drawn = await waits.policy(what, (signal) =>
        policy.sample(prompt, { seed, numSamples: 1, signal }),
      );
      sequence = drawn[0]!;
    }
  } catch (error) {
    return { ...recordOf(), ...failureOf(error, boundary) };
  }
  return { ...recordOf(), reward: totalReward(turns.map(({ reward }) => reward)) };

  function recordOf(): Omit<Trajectory, "reward"> {
    const { tokens_T, spans, logprobs_T, rawLogprobs_T } = ledger;
    const { sample, seed } = input;
    const base = { taskId: task.id, tags: task.tags, sample, seed };
    return { ...base, tokens_T, spans, logprobs_T, rawLogprobs_T, turns, isTruncated };
  }
}

/** The record of an episode that broke off before its first completion. */
export function brokenEpisode(
  { task, sample, seed }: EpisodeStart,
  error: unknown,
  boundary: RolloutBoundary,
): Trajectory {
  return {
    taskId: task.id,
    tags: task.tags,
    sample,
    seed,
    tokens_T: [],
    spans: [],
    logprobs_T: [],
    rawLogprobs_T: [],
    turns: [],
    isTruncated: false,
    ...failureOf(error, boundary),
  };
}

/** What a failure means for the record. @throws what is not the episode's: the user's mistakes and signal */
export function failureOf(
  error: unknown,
  boundary: RolloutBoundary,
): Required<Pick<Trajectory, "reward" | "failure">> {
  const reward = invalidOf(error, boundary);
  return { reward, failure: { boundary: reward.boundary ?? boundary, message: reward.reason } };
}

function invalidOf(error: unknown, boundary: RolloutBoundary) {
  if (error instanceof UserError || error instanceof CancelledError) throw error;
  return invalidReward(messageOf(error), error instanceof RolloutError ? error.boundary : boundary);
}
