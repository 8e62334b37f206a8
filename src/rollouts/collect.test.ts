/** Collecting groups with scripted samplers and environments: order of calls, failures, and what the ledger holds. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CancelledError, Random, RolloutError, UserError } from "../base/index.js";
import type { Env, EnvSet, EnvTask } from "../envs/index.js";
import type { SampledSequence, SamplingClient, SamplingParams } from "../protocol/index.js";
import { tokensOf } from "../protocol/index.js";
import { invalidReward, rewardOf } from "../rewards/index.js";
import type { ChatMessage, RenderedChat } from "../text/index.js";
import { type CollectOptions, collectGroups } from "./collect.js";
import type { PromptFormat } from "./prompt-format.js";
import type { Trajectory } from "./trajectory.js";

const EOS = 0;
/** Characters are tokens; `follow` closes a completion that was cut off. */
const format: PromptFormat = {
  stop: [EOS],
  open: (messages) => rendered(textOf(messages), "prompt"),
  follow: ({ completion, observation }) => {
    const told = rendered(textOf(observation), "tool");
    if (completion.tokens_T.at(-1) === EOS) return told;
    return {
      tokens_T: [EOS, ...told.tokens_T],
      spans: [
        { source: "forced", start: 0, end: 1 },
        ...told.spans.map((span) => ({ ...span, start: span.start + 1, end: span.end + 1 })),
      ],
    };
  },
  textOf: (tokens_T) => String.fromCharCode(...(tokens_T.at(-1) === EOS ? tokens_T.slice(0, -1) : tokens_T)),
};
const textOf = (messages: readonly ChatMessage[]): string => messages.map(({ content }) => content).join("");
const codes = (text: string): number[] => Array.from(text, (unit) => unit.charCodeAt(0));
function rendered(text: string, source: "prompt" | "tool"): RenderedChat {
  const tokens_T = codes(text);
  return { tokens_T, spans: [{ source, start: 0, end: tokens_T.length }] };
}

interface Call {
  readonly prompt: string;
  readonly seed: number | undefined;
  readonly numSamples: number;
  readonly params: SamplingParams;
}

/** Words of one to four letters drawn from the request's seed, one in four cut off. */
function createRandomClient(): SamplingClient & { readonly calls: Call[] } {
  const calls: Call[] = [];
  return {
    calls,
    async sample(prompt, params, { numSamples = 1 } = {}) {
      const tokens_T = tokensOf(prompt);
      calls.push({ prompt: String.fromCharCode(...tokens_T), seed: params.seed, numSamples, params });
      // Requests end in an order of their own.
      await new Promise((resolve) => setTimeout(resolve, (params.seed ?? 0) % 5));
      const sequences = Array.from({ length: numSamples }, (_, i) => {
        const random = new Random(params.seed ?? 0).fork(`sample ${i} of ${tokens_T.join()}`);
        const letters = Array.from({ length: 1 + random.integer(4) }, () => 97 + random.integer(26));
        return sequenceOf(letters, random.integer(4) === 0 ? "length" : "stop");
      });
      return { sequences };
    },
    async close() {},
  };
}

function sequenceOf(letters: readonly number[], stopReason: SampledSequence["stopReason"]): SampledSequence {
  const tokens = stopReason === "stop" ? [...letters, EOS] : letters;
  return {
    stopReason,
    tokens,
    logprobs: tokens.map((token, i) => -(token + i) / 100 - 0.01),
    rawLogprobs: tokens.map((token, i) => -(token + i) / 50 - 0.01),
  };
}

interface Script {
  readonly turns?: number;
  /** What a step does instead of answering; by task, and by the how-many-th environment of it. */
  readonly onStep?: (task: string, nth: number) => void | Promise<void>;
  readonly onCreate?: (task: string, nth: number) => void | Promise<void>;
  readonly onClose?: (task: string, nth: number) => void;
  readonly prompt?: (task: string, nth: number) => string;
}

interface ScriptedSet extends EnvSet {
  readonly opened: Map<string, number>;
  readonly closed: Map<string, number>;
}

function createScriptedSet(count: number, script: Script = {}): ScriptedSet {
  const { turns = 1 } = script;
  const tasks: EnvTask[] = Array.from({ length: count }, (_, i) => ({
    id: `t${i}`,
    tags: { level: "easy" },
  }));
  const opened = new Map<string, number>();
  const closed = new Map<string, number>();
  return {
    name: "scripted",
    tasks,
    opened,
    closed,
    goldActions: () => ["x"],
    async close() {},
    async create({ id }, seed): Promise<Env> {
      const nth = opened.get(id) ?? 0;
      opened.set(id, nth + 1);
      await script.onCreate?.(id, nth);
      let step = 0;
      return {
        initialObservation: async () => ({
          messages: [{ role: "user", content: script.prompt?.(id, nth) ?? `${id}/${seed}:` }],
        }),
        async step({ text }) {
          await script.onStep?.(id, nth);
          step++;
          return {
            reward: rewardOf([{ name: "length", score: text.length / 4, weight: 1 }]),
            observation: step < turns ? { messages: [{ role: "tool", content: `(${step})` }] } : null,
            metrics: { length: text.length },
          };
        },
        async close() {
          closed.set(id, (closed.get(id) ?? 0) + 1);
          script.onClose?.(id, nth);
        },
      };
    },
  };
}

function collect(set: EnvSet, options: Partial<CollectOptions> = {}) {
  return collectGroups({
    client: createRandomClient(),
    format,
    params: { temperature: 0.7, maxTokens: 4 },
    set,
    tasks: set.tasks,
    groupSize: 4,
    seed: 1,
    step: 1,
    ...options,
  });
}

const never = (): Promise<void> => new Promise(() => {});

function expectLedger({ tokens_T, spans, logprobs_T, rawLogprobs_T, turns, isTruncated }: Trajectory): void {
  expect(logprobs_T).toHaveLength(tokens_T.length);
  expect(rawLogprobs_T).toHaveLength(tokens_T.length);
  expect(spans[0]!.start).toBe(0);
  expect(spans.at(-1)!.end).toBe(tokens_T.length);
  expect(spans.slice(1).map(({ start }) => start)).toEqual(spans.slice(0, -1).map(({ end }) => end));
  const sampled = new Set<number>();
  for (const { source, start, end } of spans) {
    expect(end).toBeGreaterThan(start);
    if (source === "sampled") for (let t = start; t < end; t++) sampled.add(t);
  }
  tokens_T.forEach((_, t) => {
    expect(logprobs_T[t] !== 0).toBe(sampled.has(t));
    expect(rawLogprobs_T[t] !== 0).toBe(sampled.has(t));
  });
  const completions = spans.filter(({ source }) => source === "sampled");
  expect(completions).toHaveLength(turns.length);
  completions.forEach(({ start, end }, i) => {
    const { text, stopReason } = turns[i]!;
    const ended = stopReason === "stop" ? [...codes(text), EOS] : codes(text);
    expect(tokens_T.slice(start, end)).toEqual(ended);
    // A completion that was cut off is closed by the format, never by the policy.
    if (end < tokens_T.length && stopReason === "length") {
      expect(spans.find((span) => span.start === end)).toEqual({
        source: "forced",
        start: end,
        end: end + 1,
      });
    }
  });
  expect(isTruncated).toBe(turns.at(-1)!.stopReason === "length");
}

describe("collectGroups()", () => {
  it("asks for all first completions of a group at once, and for each later one alone", async () => {
    const client = createRandomClient();
    const set = createScriptedSet(1, { turns: 2 });
    const [group] = await collect(set, { client });
    const [first, ...later] = client.calls;
    const seed = group!.trajectories[0]!.seed;
    expect(first).toMatchObject({ prompt: `t0/${seed}:`, numSamples: 4 });
    expect(first!.params).toMatchObject({ temperature: 0.7, maxTokens: 4, stop: [EOS] });
    expect(later.map(({ numSamples }) => numSamples)).toEqual([1, 1, 1, 1]);
    expect(new Set(client.calls.map((call) => call.seed)).size).toBe(5);
    for (const { tokens_T, spans } of group!.trajectories) {
      const told = spans.find(({ source }) => source === "tool")!;
      const prompt = String.fromCharCode(...tokens_T.slice(0, told.end));
      expect(prompt.endsWith("(1)")).toBe(true);
      expect(later.map((call) => call.prompt)).toContain(prompt);
    }
  });

  it("gives every turn of every sample a seed of its own", async () => {
    const client = createRandomClient();
    await collect(createScriptedSet(2, { turns: 3 }), { client });
    // 2 groups: a request for the first turns, then 4 samples of 2 more turns.
    expect(new Set(client.calls.map((call) => call.seed)).size).toBe(2 * (1 + 4 * 2));
  });

  it("keeps tokens as sampled, with a ledger of who wrote which", async () => {
    const property = fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 4 }), async (seed, turns) => {
      const groups = await collect(createScriptedSet(3, { turns }), { seed });
      for (const { trajectories } of groups) for (const one of trajectories) expectLedger(one);
    });
    await fc.assert(property, { seed: 2, numRuns: 20 });
  });

  it("sums the rewards of an episode's turns", async () => {
    const [group] = await collect(createScriptedSet(1, { turns: 3 }));
    for (const { reward, turns } of group!.trajectories) {
      expect(turns).toHaveLength(3);
      const letters = turns.reduce((sum, { text }) => sum + text.length, 0);
      expect(reward).toMatchObject({ kind: "value", value: letters / 4 });
    }
  });

  it("depends on seed, step, round, task and sample, and on nothing else", async () => {
    const groups = await collect(createScriptedSet(5, { turns: 2 }));
    expect(await collect(createScriptedSet(5, { turns: 2 }), { concurrency: 1 })).toEqual(groups);
    const set = createScriptedSet(5, { turns: 2 });
    const chosen = await collect(set, { tasks: [set.tasks[3]!, set.tasks[1]!] });
    expect(chosen).toEqual([groups[3], groups[1]]);
    for (const other of [{ seed: 2 }, { step: 2 }, { round: 1 }]) {
      const others = await collect(createScriptedSet(5, { turns: 2 }), other);
      expect(others.map(({ trajectories }) => trajectories[0]!.tokens_T)).not.toEqual(
        groups.map(({ trajectories }) => trajectories[0]!.tokens_T),
      );
    }
    const twice = await collect(set, { tasks: [set.tasks[0]!, set.tasks[0]!] });
    expect(twice[0]).toEqual(groups[0]);
    expect(twice[1]!.trajectories[0]!.seed).not.toBe(groups[0]!.trajectories[0]!.seed);
  });

  it("has no more groups under way than it may", async () => {
    let running = 0;
    let most = 0;
    const client = createRandomClient();
    const counting: SamplingClient = {
      ...client,
      async sample(...call) {
        most = Math.max(most, ++running);
        const output = await client.sample(...call);
        running--;
        return output;
      },
    };
    await collect(createScriptedSet(12), { client: counting, concurrency: 3 });
    expect(most).toBe(3);
  });

  it("ends an episode after maxTurns and says so", async () => {
    const [group] = await collect(createScriptedSet(1, { turns: 9 }), { maxTurns: 2 });
    for (const { turns, isTruncated } of group!.trajectories) {
      expect(turns).toHaveLength(2);
      expect(isTruncated).toBe(true);
    }
  });

  it("ends an episode at an invalid reward", async () => {
    const set = createScriptedSet(1, { turns: 3 });
    const create = set.create.bind(set);
    const graderless: EnvSet = {
      ...set,
      async create(task, seed) {
        const env = await create(task, seed);
        return {
          ...env,
          step: async (action) => ({ ...(await env.step(action)), reward: invalidReward("no grader") }),
        };
      },
    };
    const [group] = await collect(graderless, { maxInvalidShare: 1 });
    expect(group!.trajectories.map(({ turns, reward }) => [turns.length, reward.kind])).toEqual(
      Array.from({ length: 4 }, () => [1, "invalid"]),
    );
  });
});

describe("a failure", () => {
  const second = (nth: number): boolean => nth === 1;

  it.each<[string, Script, string, string]>([
    [
      "of the environment's own",
      { onStep: (_, nth) => void (second(nth) && fail(new TypeError("x is undefined"))) },
      "env",
      "x is undefined",
    ],
    [
      "with a boundary",
      { onStep: (_, nth) => void (second(nth) && fail(new RolloutError("sandbox", "the process died"))) },
      "sandbox",
      "the process died",
    ],
    [
      "at the beginning",
      { onCreate: (_, nth) => void (second(nth) && fail(new Error("no seat"))) },
      "env",
      "no seat",
    ],
    ["at closing", { onClose: (_, nth) => void (second(nth) && fail(new Error("stuck"))) }, "env", "stuck"],
    [
      "to answer in time",
      { onStep: (_, nth) => (second(nth) ? never() : undefined) },
      "env",
      'Cannot wait longer for a step of task "t0": it is not there, expected it within 40 ms',
    ],
    [
      "to begin in time",
      { onCreate: (_, nth) => (second(nth) ? never() : undefined) },
      "env",
      'Cannot wait longer for the beginning of task "t0": it is not there, expected it within 40 ms',
    ],
  ])("%s is recorded on its episode alone, which is closed", async (_, script, boundary, message) => {
    const set = createScriptedSet(1, script);
    const [group] = await collect(set, { maxInvalidShare: 0.25, deadlineMs: 40 });
    expect(group!.trajectories.map(({ reward }) => reward.kind)).toEqual([
      "value",
      "invalid",
      "value",
      "value",
    ]);
    const { failure, reward, tokens_T, turns } = group!.trajectories[1]!;
    expect(failure).toEqual({ boundary, message });
    expect(reward).toEqual({ kind: "invalid", reason: message, boundary });
    // What was sampled before it is kept; the turn that failed is its last.
    if (script.onStep !== undefined) {
      expect(tokens_T.length).toBeGreaterThan(0);
      expect(turns.at(-1)!.reward.kind).toBe("invalid");
    }
    const notMade = script.onCreate === undefined ? 0 : 1;
    expect(set.closed).toEqual(new Map([["t0", 4 - notMade]]));
  });

  it("to make an environment in time closes it when it is there after all", async () => {
    let arrive = (): void => {};
    const late = new Promise<void>((resolve) => {
      arrive = resolve;
    });
    const set = createScriptedSet(1, { onCreate: (_, nth) => (nth === 0 ? late : undefined) });
    await collect(set, { maxInvalidShare: 1, deadlineMs: 20 });
    expect(set.closed.get("t0")).toBe(3);
    arrive();
    await new Promise((resolve) => setTimeout(resolve, 0));
    expect(set.closed.get("t0")).toBe(4);
  });

  it.each<[string, SamplingClient["sample"], string]>([
    ["that throws", async () => fail(new Error("out of memory")), "out of memory"],
    [
      "that answers too few",
      async () => ({ sequences: [sequenceOf([97], "stop")] }),
      "Cannot use completions: the sampler answered 1, expected 4",
    ],
    [
      "that leaves logprobs out",
      async () => ({
        sequences: Array.from({ length: 4 }, () => ({ ...sequenceOf([97], "stop"), logprobs: [-1] })),
      }),
      "Cannot use completion: it has 2 tokens and 1 logprobs, expected one per token",
    ],
    [
      "that never answers",
      () => new Promise(() => {}),
      'Cannot wait longer for the completions of task "t0": it is not there, expected it within 30 ms',
    ],
  ])("of a sampler %s is the policy's", async (_, sample, message) => {
    const set = createScriptedSet(1);
    const client = { ...createRandomClient(), sample };
    const [group] = await collect(set, { client, maxInvalidShare: 1, samplingDeadlineMs: 30 });
    expect(group!.trajectories.map(({ failure }) => failure)).toEqual(
      Array.from({ length: 4 }, () => ({ boundary: "policy", message })),
    );
    expect(set.closed.get("t0")).toBe(4);
  });

  it("of too many episodes ends the collection, and says where they failed", async () => {
    const set = createScriptedSet(4, {
      onStep: (task, nth) =>
        void (task !== "t3" && nth < 2 && fail(new RolloutError("sandbox", "no memory"))),
    });
    await expect(collect(set, { maxInvalidShare: 0.25, concurrency: 1 })).rejects.toThrow(
      new UserError(
        'Cannot go on collecting rollouts: 6 of 16 are invalid (6 at "sandbox"), expected a share of at most 0.25. The first, task "t0": no memory',
      ),
    );
    expect(set.opened.has("t3")).toBe(false);
    expect(set.closed).toEqual(set.opened);
  });

  it("that the user must mend is thrown, with every environment closed", async () => {
    const set = createScriptedSet(6, {
      turns: 3,
      onStep: (task, nth) => void (task === "t1" && nth === 2 && fail(new UserError("name a database"))),
    });
    await expect(collect(set)).rejects.toThrow(new UserError("name a database"));
    expect(set.closed).toEqual(set.opened);
  });

  it("to begin alike is the environment's mistake", async () => {
    const set = createScriptedSet(1, { prompt: (_, nth) => `prompt ${nth}` });
    await expect(collect(set)).rejects.toThrow(
      'Cannot group rollouts of task "t0": environment "scripted" begins two episodes of the same seed with different prompts, expected the same. Draw what is random in create() from its seed',
    );
    expect(set.closed).toEqual(set.opened);
  });
});

it("a signal ends the collection and closes every environment, even one that does not answer", async () => {
  const controller = new AbortController();
  const set = createScriptedSet(3, { onStep: never });
  const collecting = collect(set, { signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await expect(collecting).rejects.toThrow(CancelledError);
  expect(set.opened.size).toBe(3);
  expect(set.closed).toEqual(set.opened);
  await expect(collect(set, { signal: controller.signal })).rejects.toThrow(CancelledError);
});

it("a client's own words for the signal are one cancellation, not failures", async () => {
  const controller = new AbortController();
  const client: SamplingClient = {
    ...createRandomClient(),
    sample: (_, __, { signal } = {}) =>
      new Promise((_, reject) => signal?.addEventListener("abort", () => reject(new Error("socket closed")))),
  };
  const collecting = collect(createScriptedSet(2), { client, signal: controller.signal });
  setTimeout(() => controller.abort(), 20);
  await expect(collecting).rejects.toThrow(CancelledError);
});

it("groupSize must be a whole number of at least 1", async () => {
  await expect(collect(createScriptedSet(1), { groupSize: 0 })).rejects.toThrow(
    "Cannot collect rollouts: groupSize is 0, expected a whole number of 1 or more",
  );
});

function fail(error: Error): never {
  throw error;
}
