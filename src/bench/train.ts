/** `bench train`: seconds of a training step against torch and TRL, and the share of the machine's matrix rate it reaches. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type BenchContext,
  type ClosableContender,
  compare,
  openPeer,
  peerScript,
  resultOf,
} from "./bench-context.js";
import { honeSft } from "./hone-sft.js";
import { distinctLinears, matmulContender, matmulFlops } from "./matmul.js";
import { measureInTurn } from "./measure-in-turn.js";
import { MODEL_SHAPES, type StoredAs } from "./model-shape.js";
import { pythonProgram } from "./python-program.js";
import type { BenchResult } from "./report.js";
import { writeSftJob } from "./sft-job.js";
import { stepFlops } from "./step-flops.js";

/** Optimizer steps of one whole training, so that starting up weighs as it does for a user with little data. */
const SFT_STEPS = 20;

const QWEN_LORA = "qwen2.5-0.5b-lora";

export async function trainBench(context: BenchContext): Promise<BenchResult[]> {
  const wants = (...names: string[]) => names.some((name) => context.only?.includes(name) ?? true);
  const results: BenchResult[] = [];
  if (wants("tiny")) results.push(await againstTorch(context, "tiny", "tiny", "float32"));
  if (wants("small", "matmul", "small-share-of-matmul")) results.push(...(await smallAndMatmul(context)));
  // As released, Qwen2.5 is stored in bf16; the second figure is for weights that need all of float32.
  if (wants(QWEN_LORA)) results.push(await againstTorch(context, QWEN_LORA, "qwen2.5-0.5b", "bfloat16"));
  const anyWeights = `${QWEN_LORA}-f32-weights`;
  if (wants(anyWeights)) {
    results.push({
      ...(await againstTorch(context, QWEN_LORA, "qwen2.5-0.5b", "float32")),
      name: anyWeights,
    });
  }
  if (wants("sft-vs-trl")) results.push(await againstTrl(context, "sft-vs-trl", false));
  if (wants("sft-vs-warm-trl")) results.push(await againstTrl(context, "sft-vs-warm-trl", true));
  return results.filter(({ name }) => wants(name));
}

async function againstTorch(
  context: BenchContext,
  name: "tiny" | typeof QWEN_LORA,
  model: "tiny" | "qwen2.5-0.5b",
  storedAs: StoredAs,
): Promise<BenchResult> {
  const shape = MODEL_SHAPES[model];
  const peer = await openPeer(context, "torch_step.py", [
    name,
    "--serve",
    "--threads",
    String(context.threads),
  ]);
  const ours = await context.openTrainer(shape, { storedAs });
  const result = await compare(context, name, { ours, peer }, { repeats: model === "tiny" ? 15 : 5 });
  const flops = stepFlops(shape);
  return {
    ...result,
    perSecond: flops / result.seconds!, // measured above, never null here
    ...(result.peerSeconds === null ? {} : { peerPerSecond: flops / result.peerSeconds }),
  };
}

/** The step of model (b) and the bare products of its layers, all in one rotation: the share is of one and the same minute. */
async function smallAndMatmul(context: BenchContext): Promise<BenchResult[]> {
  const shape = MODEL_SHAPES.small;
  const linears = distinctLinears(shape);
  const tokens = shape.sequences * shape.tokens;
  const threads = String(context.threads);
  const sizes = linears.map(({ inputs, outputs, count }) => `${inputs}x${outputs}x${count}`);
  const stepPeer = await openPeer(context, "torch_step.py", ["small", "--serve", "--threads", threads]);
  const matmulPeer = await openPeer(context, "torch_matmul.py", [
    ...[String(tokens), ...sizes, "--serve", "--threads", threads],
  ]);
  const step = await context.openTrainer(shape);
  const products = await matmulContender(await context.openRuntime(), linears, tokens);
  try {
    const peers = stepPeer === null || matmulPeer === null ? [] : [stepPeer, matmulPeer];
    const { timings, foreignCores } = await measureInTurn([step, products, ...peers], {
      repeats: context.repeats ?? 7,
      onTurn: (done, total) => context.note(`small and matmul: round ${done} of ${total}`),
    });
    const [ours, ourMatmul, torch = null, torchMatmul = null] = timings;
    const matmulRate = matmulFlops(linears, tokens) / ourMatmul!.seconds;
    const stepRate = stepFlops(shape) / ours!.seconds;
    return [
      {
        ...resultOf("small", ours!, torch, foreignCores),
        perSecond: stepRate,
        ...(torch === null ? {} : { peerPerSecond: stepFlops(shape) / torch.seconds }),
      },
      {
        ...resultOf("matmul", ourMatmul!, torchMatmul, foreignCores),
        perSecond: matmulRate,
        ...(torchMatmul === null
          ? {}
          : { peerPerSecond: matmulFlops(linears, tokens) / torchMatmul.seconds }),
      },
      {
        ...{ name: "small-share-of-matmul", seconds: ours!.seconds, peer: null, peerSeconds: null },
        ratio: stepRate / matmulRate,
      },
    ];
  } finally {
    products.close();
    await Promise.all([step.close(), stepPeer?.close(), matmulPeer?.close()]);
  }
}

/** Both sides are whole programs, from being started to the end of training; and TRL once more without its start. */
async function againstTrl(context: BenchContext, name: string, isWarm: boolean): Promise<BenchResult> {
  const directory = mkdtempSync(join(tmpdir(), "hone-bench-"));
  try {
    const job = writeSftJob(directory, MODEL_SHAPES.tiny, SFT_STEPS);
    const peerArguments = [
      ...[job.modelDirectory, job.dataFile, String(job.steps)],
      ...["--rows-per-step", String(job.batchSize), "--max-length", String(job.maxLength)],
      ...["--threads", String(context.threads)],
    ];
    const { python } = context;
    let peer: ClosableContender | null = null;
    if (isWarm) peer = await openPeer(context, "trl_sft.py", [...peerArguments, "--serve"]);
    else if (python !== null) peer = await pythonProgram(python, peerScript("trl_sft.py"), peerArguments);
    const ours = honeSft(job, context.threads);
    return await compare(context, name, { ours, peer }, { warmUps: 1, repeats: isWarm ? 5 : 3 });
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}
