/** The order of calls, what is refused, what guards do, and resuming: with fakes that record. Learning: letters.test.ts. */
import { mkdtempSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import type { EnvSet } from "../../src/envs/index.js";
import type { SamplingClient, TrainingClient } from "../../src/protocol/index.js";
import { invalidReward } from "../../src/rewards/index.js";
import { createPlainFormat } from "../../src/rollouts/index.js";
import { RlConfig } from "../../src/training/rl-config.js";
import { type RlRecorder, type RunRlOptions, runRl } from "../../src/training/rl-loop.js";
import { isRlMetric } from "../../src/training/rl-metrics.js";
import { createLetterEnv, letterTokenizer } from "./letter-env.mjs";

const LOGPROB = Math.log(1 / 9);

interface Fakes {
  readonly calls: string[];
  readonly client: TrainingClient;
  readonly sampler: SamplingClient;
  readonly recorder: RlRecorder & {
    readonly logged: Map<number, Readonly<Record<string, number>>>;
    readonly events: [string, unknown][];
    readonly directory: string;
  };
}

/** A trainer whose logprobs are those of even guessing, off by `gap`, and a sampler that guesses evenly. */
function fakes({
  gap = 0,
  gradNorm = () => 1,
}: {
  readonly gap?: number;
  readonly gradNorm?: () => number;
} = {}): Fakes {
  const calls: string[] = [];
  let updates = 0;
  const outputs = (data: Parameters<TrainingClient["forward"]>[0]) => ({
    lossFnOutputs: data.map(({ lossFnInputs }) => ({
      logprobs: {
        data: (lossFnInputs["weights"]?.data ?? []).map((weight) => (weight === 0 ? 0 : LOGPROB + gap)),
        dtype: "float32" as const,
      },
    })),
    metrics: { "loss:sum": 0.5, "entropy:mean": 2 },
  });
  const directory = mkdtempSync(join(tmpdir(), "hone-rl-"));
  const logged = new Map<number, Readonly<Record<string, number>>>();
  const events: [string, unknown][] = [];
  const saved: { directory: string; step: number; score: number | null }[] = [];
  return {
    calls,
    client: {
      forward: async (data, lossFn, options) => {
        calls.push(
          `forward ${lossFn}${options?.withoutAdapter === true ? " without adapter" : ""} T=${options?.temperature}`,
        );
        return outputs(data);
      },
      forwardBackward: async (data, lossFn, options) => {
        calls.push(`forwardBackward ${lossFn} T=${options?.temperature}`);
        return outputs(data);
      },
      optimStep: async ({ learningRate }) => {
        calls.push(`optimStep ${learningRate}`);
        updates++;
        return { metrics: { "grad_norm:mean": gradNorm() } };
      },
      saveState: async (path) => {
        await mkdir(path, { recursive: true });
        writeFileSync(join(path, "updates"), `${updates}`);
      },
      loadState: async () => void calls.push("loadState"),
      saveWeights: async () => undefined,
      loadWeights: async () => undefined,
      close: async () => undefined,
    },
    sampler: {
      sample: async (_prompt, { seed, maxTokens = 4, temperature }, { numSamples = 1 } = {}) => {
        calls.push(`sample ${numSamples} T=${temperature}`);
        const random = new Random(seed ?? 0);
        return {
          sequences: Array.from({ length: numSamples }, () => {
            const tokens = Array.from({ length: maxTokens - 1 }, () =>
              temperature === 0 ? 0 : random.integer(8),
            );
            const all = [...tokens, letterTokenizer.eosId!];
            const logprobs = all.map(() => LOGPROB);
            return { stopReason: "stop" as const, tokens: all, logprobs, rawLogprobs: logprobs };
          }),
        };
      },
      close: async () => undefined,
    },
    recorder: {
      ...{ id: "grpo-1", logged, events, directory },
      logMetrics: (step, metrics, machine = {}) => void logged.set(step, { ...metrics, ...machine }),
      logEvent: (kind, detail) => void events.push([kind, detail]),
      logRollouts: (rollouts) => void calls.push(`logRollouts ${rollouts.length}`),
      saveCheckpoint: async (step, write, { score } = {}) => {
        const path = join(directory, `step-${step}`);
        await mkdir(path, { recursive: true });
        await write(path);
        saved.push({ directory: path, step, score: score ?? null });
        calls.push(`save ${step}`);
        return { path };
      },
      bestCheckpoint: () =>
        saved.reduce<(typeof saved)[number] | undefined>(
          (best, one) =>
            one.score !== null && (best === undefined || best.score === null || one.score < best.score)
              ? one
              : best,
          undefined,
        ),
    },
  };
}

function optionsOf(
  made: Fakes,
  config: Record<string, unknown>,
  set: EnvSet = createLetterEnv(),
): RunRlOptions {
  return {
    client: made.client,
    source: { sampler: made.sampler, set, format: createPlainFormat(letterTokenizer) },
    tokenizer: letterTokenizer,
    tasks: set.tasks,
    config: RlConfig.parse({
      ...{
        model: "-",
        environment: { data: "-" },
        maxTokens: 7,
        maxSteps: 1,
        promptsPerStep: 3,
        groupSize: 4,
      },
      ...{ learningRate: 0.5, schedule: "constant", saveEvery: 0, checks: { tasks: 2 }, ...config },
    }),
    recorder: made.recorder,
    clock: () => performance.now(),
    resumeCommand: "hone train grpo --resume grpo-1",
  };
}

it("a step rolls out, updates, records and saves, in this order", async () => {
  const made = fakes();
  const result = await runRl(optionsOf(made, {}));
  expect(result).toMatchObject({ status: "finished", step: 1 });
  expect(made.calls).toEqual([
    // The checks before the first step.
    ...["sample 2 T=1", "sample 2 T=1", "forward cross_entropy T=1"],
    ...["sample 4 T=1", "sample 4 T=1", "sample 4 T=1"],
    ...["forwardBackward grpo T=1", "optimStep 0.5", "logRollouts 12", "save 1"],
  ]);
});

it("every number that is logged is in the table of metrics", async () => {
  const made = fakes();
  const options = optionsOf(made, { validation: { every: 1 } });
  await runRl({ ...options, validationTasks: options.tasks.slice(0, 2) });
  const names = [...made.recorder.logged.values()].flatMap((metrics) => Object.keys(metrics));
  expect(names.filter((name) => !isRlMetric(name))).toEqual([]);
  expect(names).toEqual(
    expect.arrayContaining(["reward", "rewards/right/mean", "validation/correct", "env/correct"]),
  );
});

it("epochs and parts of a batch: so many updates", async () => {
  const made = fakes();
  await runRl(optionsOf(made, { epochsPerBatch: 2, updatesPerEpoch: 3 }));
  expect(made.calls.filter((call) => call.startsWith("forwardBackward"))).toEqual(
    new Array(6).fill("forwardBackward grpo T=1"),
  );
  expect(made.calls.filter((call) => call.startsWith("optimStep"))).toHaveLength(6);
});

it("the sampling temperature reaches every pass", async () => {
  const made = fakes();
  await runRl(optionsOf(made, { sampling: { temperature: 0.7 } }));
  expect(made.calls).toContain("forwardBackward grpo T=0.7");
  expect(made.calls).toContain("forward cross_entropy T=0.7");
});

it("the trainer's own logprobs are computed where the distribution was cut off, and the reference's with beta", async () => {
  const passes = async (config: Record<string, unknown>): Promise<string[]> => {
    const made = fakes();
    const reference = { client: made.client, withoutAdapter: true };
    await runRl({ ...optionsOf(made, config), ...("settings" in config ? { reference } : {}) });
    // After the checks' own passes.
    return made.calls.slice(made.calls.indexOf("sample 4 T=1")).filter((call) => call.startsWith("forward "));
  };
  expect(await passes({})).toEqual([]);
  expect(await passes({ sampling: { topP: 0.9 } })).toEqual(["forward cross_entropy T=1"]);
  expect(await passes({ settings: { beta: 0.1 } })).toEqual(["forward cross_entropy without adapter T=1"]);
});

it("refuses to train when sampler and trainer disagree, and nothing is touched", async () => {
  const made = fakes({ gap: 0.01 });
  await expect(runRl(optionsOf(made, {}))).rejects.toThrow(
    /Cannot begin training: logprobs of sampler and trainer differ by 1.00e-2 nats .* expected at most 0.001/,
  );
  expect(made.calls.some((call) => /optimStep|save/.test(call))).toBe(false);
  expect((await runRl(optionsOf(fakes({ gap: 0.01 }), { checks: { refuse: false } }))).status).toBe(
    "finished",
  );
});

it("refuses a reward that does not put gold above an empty answer", async () => {
  const set = createLetterEnv();
  const lying: EnvSet = { ...set, goldActions: () => [""] };
  await expect(runRl(optionsOf(fakes(), {}, lying))).rejects.toThrow("gold scores 0, an empty answer 0");
});

/** An environment whose graders fail for the tasks of one letter. */
function brokenFor(letter: string, set = createLetterEnv()): EnvSet {
  return {
    ...set,
    create: async (task, seed) => {
      const env = await set.create(task, seed);
      return task.tags["letter"] !== letter
        ? env
        : {
            ...env,
            step: async (action) => ({
              ...(await env.step(action)),
              reward: invalidReward("no grader", "sandbox"),
            }),
          };
    },
  };
}

it("rollouts without a valid reward are left out and counted, never taken for 0", async () => {
  const made = fakes();
  const set = brokenFor("a", createLetterEnv({ letters: "ab", copies: 2 }));
  const config = {
    promptsPerStep: 4,
    maxInvalidShare: 1,
    guards: { invalid: null },
    checks: { refuse: false },
  };
  await runRl(optionsOf(made, config, set));
  const metrics = made.recorder.logged.get(1)!;
  expect(metrics).toMatchObject({
    "rollouts/invalid_ratio": 0.5,
    "rollouts/groups": 2,
    "rollouts/total": 16,
  });
  const guarded = await runRl(optionsOf(fakes(), { ...config, guards: {} }, set));
  expect(guarded).toMatchObject({ status: "stopped", step: 1 });
  expect(guarded.message).toContain("50.0 % of the rollouts have no valid reward");
});

it("groups whose rewards are all equal make no update; dynamic sampling draws others, within its budget", async () => {
  const made = fakes();
  const deaf = createLetterEnv({ letters: "a" });
  const flat: EnvSet = {
    ...deaf,
    create: async (task, seed) => {
      const env = await deaf.create(task, seed);
      return { ...env, step: async (action) => env.step({ ...action, text: action.text === "" ? "" : "a" }) };
    },
  };
  await runRl(optionsOf(made, { dynamicSampling: { budget: 3 } }, flat));
  expect(made.calls.some((call) => call.startsWith("forwardBackward"))).toBe(false);
  expect(made.recorder.logged.get(1)).toMatchObject({
    frac_reward_zero_std: 1,
    "rollouts/total": 36,
    "rollouts/groups": 0,
  });
});

it("overlongPenalty takes from the rewards that are learned from, as a component, and from no validation", async () => {
  const made = fakes();
  const options = optionsOf(made, { overlongPenalty: { cacheLength: 5 }, validation: { every: 1 } });
  // Of at most 7 tokens the first 2 are free; completions of 4 are 2 of the next 5 too long.
  const sampler: SamplingClient = {
    ...made.sampler,
    sample: (prompt, params, more) => made.sampler.sample(prompt, { ...params, maxTokens: 4 }, more),
  };
  const source = { ...options.source, sampler };
  await runRl({ ...options, source, validationTasks: options.tasks.slice(0, 2) });
  const metrics = made.recorder.logged.get(1)!;
  expect(metrics["rewards/overlong/mean"]).toBeCloseTo(-0.4, 12);
  expect(metrics["reward"]).toBeCloseTo(metrics["rewards/right/mean"]! - 0.4, 12);
  // Greedy answers to "a" are three of six letters.
  expect(metrics["validation/reward"]).toBe(0.5);
});

it("a guard lowers the learning rate, goes back to the best checkpoint, or stops", async () => {
  const acts = (action: string, maxSteps: number) => {
    const made = fakes({ gradNorm: () => 50 });
    const guards = { gradNorm: { warn: 10, limit: 40, patience: 2, action } };
    const options = optionsOf(made, { guards, maxSteps, validation: { every: 100 } });
    return { made, run: runRl({ ...options, validationTasks: options.tasks.slice(0, 2) }) };
  };
  const lowered = acts("lower_lr", 4);
  await lowered.run;
  expect(lowered.made.calls.filter((call) => call.startsWith("optimStep"))).toEqual([
    ...["optimStep 0.5", "optimStep 0.5", "optimStep 0.25", "optimStep 0.25"],
  ]);
  const back = acts("roll_back", 5);
  await back.run;
  expect(back.made.calls.filter((call) => call === "loadState")).toHaveLength(2);
  const stopped = acts("stop", 5);
  expect(await stopped.run).toMatchObject({ status: "stopped", step: 2 });
  expect(stopped.made.calls).toContain("save 2");
  const [, alarm] = stopped.made.recorder.events.find(([kind]) => kind === "alarm")!;
  expect(alarm).toMatchObject({ step: 2, guard: "gradNorm", taken: "the run stops here, with a checkpoint" });
});

it("ends early when validation is no better for so long, and names the best", async () => {
  const made = fakes();
  const options = optionsOf(made, { maxSteps: 20, validation: { every: 2, patience: 3 } });
  const result = await runRl({ ...options, validationTasks: options.tasks.slice(0, 4) });
  // The fake never learns: the validation before the first step stays the best.
  expect(result).toMatchObject({ status: "finished", step: 6, best: { step: 0 } });
  expect(result.message).toContain("the last 3 validations were no better than step 0's");
});

it("a loss that is not finite ends the run before the update", async () => {
  const made = fakes();
  const broken: TrainingClient = {
    ...made.client,
    forwardBackward: async (...given) => {
      const output = await made.client.forwardBackward(...given);
      return { ...output, metrics: { "loss:sum": Number.NaN } };
    },
  };
  await expect(runRl({ ...optionsOf(made, {}), client: broken })).rejects.toThrow(
    "Cannot do step 1: the loss is NaN, expected a finite number. The weights were not updated",
  );
  expect(made.calls.some((call) => call.startsWith("optimStep"))).toBe(false);
});

it("a checkpoint made on other terms is refused, by name", async () => {
  const made = fakes();
  await runRl(optionsOf(made, { maxSteps: 2 }));
  const resumeFrom = join(made.recorder.directory, "step-2");
  const other = { ...optionsOf(fakes(), { maxSteps: 2, groupSize: 8 }), resumeFrom };
  await expect(runRl(other)).rejects.toThrow("was made with groupSize 4, this run has 8, expected the same");
});
