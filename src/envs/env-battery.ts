/**
 * What every environment must do, as checks that run on any of them. Plain assertions, so that a test runner is the
 * caller's choice: `describeEnv(createSet, { it })` with vitest's `it`, `checkEnv(set)` without one.
 */
import { messageOf } from "../base/index.js";
import type { Action, Env, EnvSet, EnvTask, Observation, StepResult } from "./env.js";

export interface EnvCheck {
  readonly name: string;
  /** A sentence about the environment. */
  readonly title: string;
  /** @throws Error saying what is wrong */
  run(set: EnvSet, task: EnvTask): Promise<void>;
}

export interface EnvProblem {
  readonly check: string;
  readonly taskId: string;
  readonly message: string;
}

export interface BatteryOptions {
  /** How many tasks are checked, spread over the set. @default 4 */
  readonly taskCount?: number;
  /** Checks left out, each with the reason. */
  readonly skip?: Readonly<Record<string, string>>;
}

/** The part of a test runner that the battery needs. */
export interface TestRunner {
  (title: string, body: () => Promise<void>): void;
  skip?(title: string, body: () => Promise<void>): void;
}

/** Answers shorter than this may stand in a prompt by chance. */
const LEAK_MIN_LENGTH = 8;
const MAX_TURNS = 64;
const SEED = 17;

/** Registers one test per check. `createSet` is called for each, and the set closed after it. */
export function describeEnv(
  createSet: () => EnvSet | Promise<EnvSet>,
  { it, skip = {}, taskCount }: BatteryOptions & { readonly it: TestRunner },
): void {
  for (const check of ENV_CHECKS) {
    const reason = skip[check.name];
    if (reason !== undefined) {
      const title = `${check.title} (skipped: ${reason})`;
      (it.skip ?? it)(title, async () => {});
      continue;
    }
    it(check.title, async () => {
      const set = await createSet();
      try {
        for (const task of someTasks(set, taskCount)) await check.run(set, task);
      } finally {
        await set.close();
      }
    });
  }
}

/** Runs the checks on an open set; an empty list means that all hold. */
export async function checkEnv(set: EnvSet, options: BatteryOptions = {}): Promise<EnvProblem[]> {
  const problems: EnvProblem[] = [];
  for (const task of someTasks(set, options.taskCount)) {
    for (const check of ENV_CHECKS) {
      if (options.skip?.[check.name] !== undefined) continue;
      try {
        await check.run(set, task);
      } catch (error) {
        problems.push({ check: check.name, taskId: task.id, message: messageOf(error) });
      }
    }
  }
  return problems;
}

export const ENV_CHECKS: readonly EnvCheck[] = [
  {
    name: "gold",
    title: "gold answers earn exactly 1 and end the episode",
    async run(set, task) {
      const { total, isOver } = await play(set, task, goldOf(set, task));
      expectThat(isOver, `the episode of task "${task.id}" goes on after its gold answers, expected its end`);
      // Sums of several turns may be off by rounding.
      expectThat(Math.abs(total - 1) <= 1e-12, `gold answers of task "${task.id}" earn ${total}, expected 1`);
    },
  },
  {
    name: "empty",
    title: "empty answers earn nothing",
    async run(set, task) {
      const { total } = await play(set, task, []);
      expectThat(total <= 0, `empty answers to task "${task.id}" earn ${total}, expected 0`);
    },
  },
  {
    name: "same_seed",
    title: "the same task and seed give the same episode",
    async run(set, task) {
      const first = await play(set, task, goldOf(set, task));
      const second = await play(set, task, goldOf(set, task));
      expectThat(
        JSON.stringify(first) === JSON.stringify(second),
        `two episodes of task "${task.id}" with seed ${SEED} differ: ${JSON.stringify(first)} and ${JSON.stringify(second)}`,
      );
    },
  },
  {
    name: "no_leak",
    title: "the prompt does not hold the answer",
    async run(set, task) {
      const env = await set.create(task, SEED);
      try {
        const shown = plainText(
          (await env.initialObservation()).messages.map((message) => JSON.stringify(message)).join("\n"),
        );
        for (const answer of goldOf(set, task)) {
          const plain = plainText(JSON.stringify(answer).slice(1, -1));
          const isLeaked = plain.length >= LEAK_MIN_LENGTH && shown.includes(plain);
          expectThat(!isLeaked, `the prompt of task "${task.id}" holds its answer ${JSON.stringify(answer)}`);
        }
      } finally {
        await env.close?.();
      }
    },
  },
  {
    name: "after_end",
    title: "a step after the end is an error",
    async run(set, task) {
      const env = await set.create(task, SEED);
      try {
        await env.initialObservation();
        for (const text of goldOf(set, task)) await env.step(actionOf(text));
        let isRefused = false;
        try {
          await env.step(actionOf("one more"));
        } catch {
          isRefused = true;
        }
        expectThat(isRefused, `a step after the end of task "${task.id}" is answered, expected an error`);
      } finally {
        await env.close?.();
      }
    },
  },
  {
    name: "malformed",
    title: "malformed answers are graded, not thrown",
    async run(set, task) {
      for (const text of MALFORMED) {
        for (const stopReason of ["stop", "length"] as const) {
          const said = JSON.stringify(text.slice(0, 40));
          const { total } = await play(set, task, [text], stopReason).catch((error: unknown) => {
            throw new Error(`the answer ${said} to task "${task.id}" throws: ${messageOf(error)}`);
          });
          expectThat(
            total < 1,
            `the answer ${said} to task "${task.id}" earns ${total}, expected less than 1`,
          );
        }
      }
    },
  },
  {
    name: "aborted",
    title: "an episode that is broken off leaves the next one as it should be",
    async run(set, task) {
      const unused = await set.create(task, SEED);
      await unused.close?.();
      const broken = await set.create(task, SEED);
      await broken.initialObservation();
      const pending = broken.step(actionOf(goldOf(set, task)[0] ?? "")).catch(() => undefined);
      await broken.close?.();
      await pending;
      const { total } = await play(set, task, goldOf(set, task));
      expectThat(
        Math.abs(total - 1) <= 1e-12,
        `after an aborted episode gold answers of task "${task.id}" earn ${total}, expected 1`,
      );
    },
  },
  {
    name: "side_by_side",
    title: "episodes side by side do not disturb each other",
    async run(set, task) {
      const [gold, empty] = await Promise.all([play(set, task, goldOf(set, task)), play(set, task, [])]);
      expectThat(
        Math.abs(gold.total - 1) <= 1e-12 && empty.total <= 0,
        `side by side, gold and empty answers to task "${task.id}" earn ${gold.total} and ${empty.total}, expected 1 and 0`,
      );
    },
  },
];

const MALFORMED: readonly string[] = [
  "",
  " \n\t ",
  "\u0000",
  "\ud800",
  "```",
  "```sql\nSELECT",
  "'; --",
  "{",
  "<|im_end|>",
  "((".repeat(2000),
  "a ".repeat(50_000),
];

/** What an episode was: its observations and rewards. */
interface Played {
  readonly observations: readonly (Observation | null)[];
  readonly rewards: readonly number[];
  readonly total: number;
  readonly isOver: boolean;
}

/** Plays the answers, then empty ones when there are none, and closes. @throws when a reward is invalid */
async function play(
  set: EnvSet,
  task: EnvTask,
  answers: readonly string[],
  stopReason: Action["stopReason"] = "stop",
): Promise<Played> {
  const env: Env = await set.create(task, SEED);
  try {
    const observations: (Observation | null)[] = [await env.initialObservation()];
    const rewards: number[] = [];
    const turns = answers.length === 0 ? MAX_TURNS : answers.length;
    for (let turn = 0; turn < turns && observations.at(-1) !== null; turn++) {
      const result: StepResult = await env.step(actionOf(answers[turn] ?? "", stopReason));
      if (result.reward.kind === "invalid") {
        throw new Error(
          `the reward of turn ${turn} of task "${task.id}" is invalid: ${result.reward.reason}`,
        );
      }
      rewards.push(result.reward.value);
      observations.push(result.observation);
    }
    const total = rewards.reduce((sum, value) => sum + value, 0);
    return { observations, rewards, total, isOver: observations.at(-1) === null };
  } finally {
    await env.close?.();
  }
}

function actionOf(text: string, stopReason: Action["stopReason"] = "stop"): Action {
  return { text, stopReason, tokenCount: Math.ceil(text.length / 4) + 1 };
}

function goldOf(set: EnvSet, task: EnvTask): readonly string[] {
  const answers = set.goldActions(task);
  expectThat(answers.length > 0, `task "${task.id}" has no gold answers, expected at least one`);
  return answers;
}

function someTasks(set: EnvSet, count = 4): EnvTask[] {
  const { tasks } = set;
  expectThat(tasks.length > 0, `environment "${set.name}" has no tasks, expected at least one`);
  const ids = new Set(tasks.map(({ id }) => id));
  expectThat(
    ids.size === tasks.length,
    `environment "${set.name}" has ${tasks.length} tasks with ${ids.size} different ids, expected each its own`,
  );
  const chosen = Math.min(count, tasks.length);
  return Array.from({ length: chosen }, (_, i) => tasks[Math.floor((i * tasks.length) / chosen)]!);
}

function plainText(text: string): string {
  return text.toLowerCase().replace(/\s+/g, " ").trim();
}

function expectThat(holds: boolean, message: string): asserts holds {
  if (!holds) throw new Error(message);
}
