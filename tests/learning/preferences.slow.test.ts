/** Methods that learn from pairs, three seeds: `npm run test:learning`. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { memoryRecorder, runRule } from "./preference-set.js";

const directory = mkdtempSync(join(tmpdir(), "hone-learning-"));
afterAll(() => rmSync(directory, { recursive: true }));

describe.each(["dpo", "orpo", "simpo"] as const)("%s", (method) => {
  it.each([1, 2, 3])("seed %i reaches nine tenths in held-out pair accuracy", async (seed) => {
    const recorder = memoryRecorder();
    await runRule({ method, seed, directory, recorder, maxSteps: 1200, pairs: 16_000 });
    const accuracy = recorder.metrics.at(-1)!["eval_rewards/accuracies"]!;
    console.log(`${method}, seed ${seed}: ${(100 * accuracy).toFixed(1)} % of 128 held-out pairs`);
    expect(accuracy).toBeGreaterThanOrEqual(0.9);
  });
});
