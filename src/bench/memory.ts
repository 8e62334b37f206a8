/** `bench memory`: the most physical memory a training process holds, each case in a process of its own. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { z } from "zod";
import { median } from "../base/index.js";
import { type BenchContext, openPeer, type TrainerOptions } from "./bench-context.js";
import { peakResidentBytes } from "./machine.js";
import { MODEL_SHAPES, type ModelShape } from "./model-shape.js";
import type { BenchResult } from "./report.js";

interface MemoryCase {
  readonly shape: ModelShape;
  readonly trainer: TrainerOptions;
  readonly steps: number;
  /** The model of tools/peers/torch_step.py that does the same, if one does. */
  readonly peerModel?: string;
}

const CASES: Readonly<Record<string, MemoryCase>> = {
  "qwen2.5-0.5b-lora-f32": {
    ...{ shape: MODEL_SHAPES["qwen2.5-0.5b"], trainer: { gradientCheckpointing: true }, steps: 3 },
    peerModel: "qwen2.5-0.5b-lora",
  },
  "qwen2.5-0.5b-lora-4bit": {
    ...{
      shape: MODEL_SHAPES["qwen2.5-0.5b"],
      trainer: { quantised: true, gradientCheckpointing: true },
      steps: 3,
    },
  },
  "qwen2.5-7b-lora-4bit": {
    shape: MODEL_SHAPES["qwen2.5-7b"],
    trainer: { quantised: true, gradientCheckpointing: true },
    steps: 1,
  },
};

const Measured = z.object({ seconds: z.number(), peakBytes: z.number() });
export type MemoryMeasured = z.infer<typeof Measured>;

/** Runs each case as `node ENTRY memory --case NAME`, one after the other. */
export async function memoryBench(context: BenchContext, entry: string): Promise<BenchResult[]> {
  const results: BenchResult[] = [];
  for (const [name, { peerModel }] of Object.entries(CASES)) {
    if (context.only !== null && !context.only.includes(name)) continue;
    context.note(`${name}: our process`);
    const commandLine = [entry, "memory", "--case", name, "--threads", String(context.threads)];
    const { stdout } = await promisify(execFile)(process.execPath, commandLine, { maxBuffer: 1 << 24 });
    const { seconds, peakBytes } = Measured.parse(JSON.parse(stdout.trim().split("\n").at(-1)!));
    const peer = peerModel === undefined ? null : await peerMemory(context, peerModel);
    results.push({
      ...{ name, seconds, peakBytes, peer: peer?.name ?? null, peerSeconds: peer?.seconds ?? null },
      ratio: peer === null ? null : peer.seconds / seconds,
      ...(peer === null ? {} : { peerPeakBytes: peer.peakBytes }),
    });
  }
  return results;
}

/** What the process of one case does: opens the engine, steps, and tells its own peak. */
export async function measureMemoryCase(context: BenchContext, name: string): Promise<MemoryMeasured> {
  const memoryCase = CASES[name];
  if (memoryCase === undefined) {
    throw new RangeError(
      `Cannot measure memory case "${name}": expected one of ${Object.keys(CASES).join(", ")}`,
    );
  }
  const trainer = await context.openTrainer(memoryCase.shape, memoryCase.trainer);
  try {
    const seconds: number[] = [];
    for (let step = 0; step < memoryCase.steps; step++) seconds.push(await trainer.seconds());
    return { seconds: median(seconds), peakBytes: peakResidentBytes() };
  } finally {
    await trainer.close();
  }
}

async function peerMemory(
  context: BenchContext,
  model: string,
): Promise<{ name: string; seconds: number; peakBytes: number } | null> {
  const peer = await openPeer(context, "torch_step.py", [
    model,
    "--serve",
    "--threads",
    String(context.threads),
  ]);
  if (peer === null) return null;
  try {
    const seconds = [await peer.seconds(), await peer.seconds(), await peer.seconds()];
    return { name: peer.name, seconds: median(seconds), peakBytes: peer.peakBytes() };
  } finally {
    await peer.close();
  }
}
