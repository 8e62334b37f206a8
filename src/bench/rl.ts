/** `bench rl`: seconds of a GRPO step against TRL, and of its parts: sampling, SQL rewards, shared prompts. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BenchContext, compare, openPeer } from "./bench-context.js";
import { groupSharing } from "./group-sharing.js";
import { GRPO_SHAPE, openGrpoStep } from "./grpo-step.js";
import { MODEL_SHAPES } from "./model-shape.js";
import type { BenchResult } from "./report.js";
import { benchSampling } from "./sampling.js";
import { writeSftJob } from "./sft-job.js";
import { sqlRewards } from "./sql-rewards.js";

/** Each part answers results of the names that are its key, or begin with it. */
const PARTS: Readonly<Record<string, (context: BenchContext) => Promise<BenchResult[]>>> = {
  "grpo-step": grpoStep,
  "sample-16x64": benchSampling,
  "sql-rewards": sqlRewards,
  "group-sharing": groupSharing,
};

export async function rlBench(context: BenchContext): Promise<BenchResult[]> {
  const wants = (name: string) => context.only?.includes(name) ?? true;
  const results: BenchResult[] = [];
  for (const [name, part] of Object.entries(PARTS)) {
    if (wants(name)) results.push(...(await part(context)));
  }
  return results;
}

/** Rollouts, rewards and one optimizer step on the same shapes: both sides time a step of their own trainer. */
async function grpoStep(context: BenchContext): Promise<BenchResult[]> {
  const directory = mkdtempSync(join(tmpdir(), "hone-bench-"));
  try {
    const { modelDirectory } = writeSftJob(directory, MODEL_SHAPES.tiny, 1);
    const { prompts, groupSize, promptTokens, completionTokens } = GRPO_SHAPE;
    const peer = await openPeer(context, "trl_grpo.py", [
      ...[modelDirectory, "--prompts", String(prompts), "--group-size", String(groupSize)],
      ...["--prompt-tokens", String(promptTokens), "--completion-tokens", String(completionTokens)],
      ...["--threads", String(context.threads)],
    ]);
    const ours = await openGrpoStep(modelDirectory, context.threads);
    const result = await compare(context, "grpo-step", { ours, peer }, { warmUps: 1, repeats: 5 });
    return [result];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
