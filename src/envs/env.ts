/** What an environment is: one object, one episode. It speaks text; `rollouts` turns text into tokens and back. */
import type { StopReason } from "../protocol/index.js";
import type { RewardOutcome } from "../rewards/index.js";
import type { ChatMessage } from "../text/index.js";

/** Messages the policy has not seen yet. After the first observation: the user's, the tools' and the system's answers. */
export interface Observation {
  readonly messages: readonly ChatMessage[];
}

/** What the policy said. */
export interface Action {
  readonly text: string;
  /** "length" when it ran into the token limit, so that the text is cut off. */
  readonly stopReason: StopReason;
  readonly tokenCount: number;
}

export interface StepResult {
  /** Reward of this step; an episode's return is the sum, and invalid if any step is. */
  readonly reward: RewardOutcome;
  /** null when the episode is over. */
  readonly observation: Observation | null;
  /** Numbers to average over episodes, such as `executed` or `correct`. */
  readonly metrics: Readonly<Record<string, number>>;
}

export interface Env {
  initialObservation(): Promise<Observation>;
  /** @throws RolloutError when the environment itself failed, as opposed to the policy */
  step(action: Action): Promise<StepResult>;
  /** Frees what the episode holds; called once, also after an error. */
  close?(): Promise<void>;
}

/** One task of a set: an id that outlives reordering, and tags such as `{ hardness: "easy", database: "pets_1" }`. */
export interface EnvTask {
  readonly id: string;
  readonly tags: Readonly<Record<string, string>>;
}

/** Tasks and how to start an episode of one. Same task and seed, same episode. */
export interface EnvSet {
  readonly name: string;
  readonly tasks: readonly EnvTask[];
  create(task: EnvTask, seed: number): Promise<Env>;
  /** Answers, one per turn, that must earn a reward of 1; for the step-0 check and the shared battery. */
  goldActions(task: EnvTask): readonly string[];
  close(): Promise<void>;
}
