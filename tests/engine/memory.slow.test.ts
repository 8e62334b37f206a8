/** The estimate against what a process of its own really took (built: `npm run build`). */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";
import { type EngineOptions, estimateMemory } from "../../src/engine/index.js";
import { TINY_CONFIG } from "./tiny-models.js";

const MIDDLE = {
  ...TINY_CONFIG,
  vocab_size: 16_000,
  hidden_size: 512,
  intermediate_size: 1408,
  num_hidden_layers: 8,
  num_attention_heads: 8,
  num_key_value_heads: 4,
  max_position_embeddings: 1024,
};
const lora = { rank: 16, alpha: 32 };

it.each<[string, Omit<EngineOptions, "model">, Record<string, unknown>]>([
  ["the tiny model", {}, TINY_CONFIG],
  ["49 million weights, all trained", {}, MIDDLE],
  ["… with gradient checkpointing", { gradientCheckpointing: true }, MIDDLE],
  ["… with LoRA", { lora }, MIDDLE],
  ["… with LoRA on 4 bits", { lora, quantise: {} }, MIDDLE],
])("the estimate of %s is within a factor of 1.25 of the peak", (title, more, config) => {
  const [sequences, length] = config === MIDDLE ? [4, 256] : [4, 32];
  const options: EngineOptions = { model: { config, seed: 0 }, threads: 2, ...more };
  const tokens = sequences * length;
  const { total, ...parts } = estimateMemory(options, { tokens, supervised: tokens, longest: length });
  const child = join(import.meta.dirname, "peak-memory-child.mjs");
  const input = JSON.stringify({ options, sequences, length });
  const peak = Number(execFileSync(process.execPath, [child, input], { encoding: "utf8" }));
  const mega = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  const list = Object.entries(parts).map(([name, bytes]) => `${name} ${mega(bytes)}`);
  console.log(`${title}: estimated ${mega(total)} (${list.join(", ")}), peak ${mega(peak)}`);
  expect(total / peak).toBeGreaterThan(1 / 1.25);
  expect(total / peak).toBeLessThan(1.25);
});
