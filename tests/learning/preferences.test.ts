/** Learning from pairs on a real model: the rule is learned, the start is at the reference, a resumed run is the same run. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import type { EmbeddedTrainingClient } from "../../src/engine/index.js";
import { openRunStore, type Run } from "../../src/runs/index.js";
import { isPreferenceMetric } from "../../src/training/index.js";
import { memoryRecorder, runRule } from "./preference-set.js";

const directory = mkdtempSync(join(tmpdir(), "hone-learning-"));
afterAll(() => rmSync(directory, { recursive: true }));

// Not cpo: its rewards are sums of logprobs without a reference, so here the shorter answer mostly has the higher one.
it.each(["dpo", "orpo", "simpo"] as const)(
  "%s learns a known rule: nine in ten held-out pairs",
  async (method) => {
    const recorder = memoryRecorder();
    await runRule({ method, seed: 1, directory, recorder });
    const first = recorder.metrics[0]!;
    const measure = "eval_rewards/accuracies";
    expect(first[measure]).toBeLessThan(0.7);
    if (method === "dpo") {
      expect(first["eval_loss"]).toBeCloseTo(Math.log(2), 5);
      expect(Math.abs(first["eval_rewards/margins"]!)).toBeLessThan(1e-5);
    }
    expect(recorder.metrics.at(-1)![measure]).toBeGreaterThanOrEqual(0.9);
    const names = recorder.metrics.flatMap((metrics) => Object.keys(metrics));
    expect(names.filter((name) => !isPreferenceMetric(name))).toEqual([]);
  },
);

it.each([
  ["dpo", false],
  ["dpo", true],
  ["orpo", false],
  ["cpo", true],
  ["simpo", false],
  ["reward", true],
] as const)(
  "%s (LoRA: %s) resumed after a stop equals the uninterrupted run bit for bit",
  async (method, lora) => {
    const project = mkdtempSync(join(directory, "project-"));
    const store = openRunStore(project);
    const newRun = (): Run => store.createRun({ method, config: {}, seed: 1, versions: {}, dataHashes: {} });
    const repeatable = (run: Run) =>
      run.metrics().flatMap(({ step, name, value, isMachine }) => (isMachine ? [] : [[step, name, value]]));
    const shared = { method, seed: 2, directory: join(project, "reference"), lora, maxSteps: 9 };
    const nextLogits: Float32Array[] = [];
    const keep = async (client: EmbeddedTrainingClient) =>
      void nextLogits.push(
        method === "reward"
          ? Float32Array.from(await client.scores([{ tokens: [1, 2, 3] }]))
          : await client.nextLogits([1, 2, 3]),
      );
    const whole = newRun();
    const finished = await runRule({ ...shared, recorder: whole }, keep);
    const abort = new AbortController();
    let run = newRun();
    const stopped = await runRule({
      ...{ ...shared, recorder: run },
      more: {
        signal: abort.signal,
        onProgress: (event) => void (event.kind === "step" && event.step === 5 && abort.abort()),
      },
    });
    expect(stopped).toMatchObject({
      ...{ status: "interrupted", step: 5 },
      message: `Stopped after step 5 of 9, with a checkpoint. Resume with: hone train ${method} --resume ${run.id}`,
    });
    run.close("interrupted");
    run = store.resumeRun(run.id);
    const resumeFrom = run.latestCheckpoint()!.directory;
    if (method === "dpo") {
      await expect(
        runRule({ ...shared, recorder: run, more: { resumeFrom, referenceHash: "another" } }),
      ).rejects.toThrow("was made with reference logprobs");
    }
    const resumed = await runRule({ ...shared, recorder: run, more: { resumeFrom } }, keep);
    expect(resumed).toEqual(finished);
    expect(repeatable(run)).toEqual(repeatable(whole));
    expect(nextLogits[1]).toEqual(nextLogits[0]);
    store.close();
  },
);
