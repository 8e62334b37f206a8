import { expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { configKeys } from "./config-schema.js";
import { parseConfig } from "./load-config.js";
import { RlConfig } from "./rl-config.js";

const MINIMAL = "model: m\nenvironment: { data: spider }\n";
const parse = (text: string): RlConfig => parseConfig(`${MINIMAL}${text}`, "grpo.yaml", RlConfig);

function refusal(text: string): string {
  try {
    parse(text);
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(UserError);
    return (thrown as UserError).message;
  }
  throw new Error("expected a refusal");
}

it("defaults are TRL's for GRPO, and follow from what else is said", () => {
  const config = parse("");
  expect(config).toMatchObject({
    ...{ algorithm: "grpo", groupSize: 8, learningRate: 1e-6, maxTokens: 512, epochsPerBatch: 1 },
    sampling: { temperature: 1, topP: 1, topK: -1, minP: 0 },
    settings: { beta: 0, epsilon: 0.2, scaleRewards: "group", importanceCorrection: "off" },
    guards: { kl: { action: "roll_back" }, invalid: { limit: 0.25 } },
    checks: { refuse: true, tasks: 8 },
  });
  expect(parse("lora: {}\n").learningRate).toBe(1e-5);
  expect(parse("lora: {}\nquantise: {}\n").settings.importanceCorrection).toBe("token_truncate");
  expect(parse("maxTokens: 64\n").settings.maxCompletionLength).toBe(64);
});

it("settings are the algorithm's own where nothing is said, and the user's where something is", () => {
  expect(parse("algorithm: dr_grpo\n").settings).toMatchObject({
    scaleRewards: "none",
    aggregation: "constant_length",
  });
  expect(parse("algorithm: dr_grpo\nsettings: { scaleRewards: batch }\n").settings.scaleRewards).toBe(
    "batch",
  );
  expect(parse("algorithm: rloo\n").settings).toMatchObject({ beta: 0.05, klPlacement: "reward" });
});

it.each([
  ["num_generations: 4", "groupSize"],
  ["max_completion_length: 64", "maxTokens"],
  ["num_iterations: 2", "epochsPerBatch"],
  ["per_device_train_batch_size: 8", "promptsPerStep"],
  ["loss_type: dapo", "algorithm"],
  ["beta: 0.1", "settings.beta"],
  ["epsilon_high: 0.28", "settings.epsilonHigh"],
  ["scale_rewards: none", "settings.scaleRewards"],
  ["temperature: 0.7", "sampling.temperature"],
  ["top_p: 0.9", "sampling.topP"],
  ["max_grad_norm: 1", "gradClipNorm"],
])("%s, TRL's name, is refused with ours", (line, ours) => {
  expect(refusal(`${line}\n`)).toContain(`Did you mean "${ours}"?`);
});

it("contradictions are refused, with the way out", () => {
  expect(refusal("groupSize: 1\n")).toContain("Take algorithm: reinforce for groups of one");
  expect(parse("groupSize: 1\nalgorithm: reinforce\n").groupSize).toBe(1);
  expect(refusal("promptsPerStep: 2\nupdatesPerEpoch: 3\n")).toContain(
    "expected at most as many updates as groups",
  );
  expect(refusal("quantise: {}\n")).toContain("Add lora: {}");
  expect(refusal("maxTokens: 64\noverlongPenalty: { cacheLength: 65 }\n")).toContain(
    "overlongPenalty.cacheLength is 65 and maxTokens 64, expected no more than maxTokens",
  );
  expect(refusal("lora: {}\nadapter: a\n")).toContain("expected one of them");
});

it("a guard takes its own defaults for what is left out, and null turns it off", () => {
  const { guards } = parse("guards: { kl: { limit: 0.5 }, length: null }\n");
  expect(guards.kl).toEqual({ warn: 0.2, limit: 0.5, action: "roll_back", patience: 3 });
  expect(guards.length).toBeNull();
  expect(refusal("guards: { kl: { action: panic } }\n")).toContain("guards.kl.action");
});

it("every key says what it is for", () => {
  const silent = configKeys(RlConfig).filter(({ description }) => description === "");
  expect(silent.map(({ path }) => path)).toEqual([]);
});
