/** The options of `forward` and `forwardBackward` that change which distribution the logprobs are of. */
import { cpSync, mkdtempSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingClient, type EngineOptions, TrainingEngine } from "../../src/engine/index.js";
import { LOSSES } from "../../src/losses/index.js";
import type { Datum, LossFnName } from "../../src/protocol/index.js";
import { writeShardedSafetensors } from "../../src/tensor/index.js";
import { readGoldenTensors } from "../golden/read.js";
import {
  ADAM,
  largestGap,
  largestRelativeGap,
  randomDatums,
  TINY_CONFIG,
  takeGradients,
  temporaryFolder,
  writeTinyModel,
} from "./tiny-models.js";

const folder = temporaryFolder();
const MODEL = { config: TINY_CONFIG, seed: 5 };
const LORA = { rank: 4, alpha: 8 };
const datums = randomDatums(11, [7, 12, 3]);

const logprobsOf = async (
  engine: TrainingEngine,
  options: Parameters<TrainingEngine["forward"]>[2] = {},
): Promise<number[]> => {
  const { lossFnOutputs } = await engine.forward(datums, "cross_entropy", options);
  return lossFnOutputs.flatMap(({ logprobs }) => [...logprobs!.data]);
};

/** The same tokens with whatever a loss wants. */
function datumsFor(lossFn: LossFnName): Datum[] {
  return datums.map(({ modelInput, lossFnInputs }) => {
    const { data } = lossFnInputs["weights"]!;
    const values: Readonly<Record<string, readonly number[]>> = {
      weights: data,
      advantages: data,
      logprobs: data.map((weight) => (weight === 0 ? 0 : -3.5)),
    };
    return {
      modelInput,
      lossFnInputs: {
        target_tokens: lossFnInputs["target_tokens"]!,
        ...Object.fromEntries(
          LOSSES[lossFn].inputs.map((name) => [
            name,
            { data: [...(values[name] ?? data)], dtype: "float32" as const },
          ]),
        ),
      },
    };
  });
}

describe.each(["native", "cpu"] as const)("temperature with %s operators", (runtime) => {
  it.each([0.25, 0.7, 1, 3])("forward at %s gives log softmax(logits / temperature)", async (temperature) => {
    const engine = await TrainingEngine.create({ model: MODEL, runtime });
    const { lossFnOutputs } = await engine.forward(datums, "cross_entropy", { temperature });
    for (const [i, { modelInput, lossFnInputs }] of datums.entries()) {
      const tokens = modelInput.chunks.flatMap((chunk) => chunk.tokens);
      const expected: number[] = [];
      for (const t of tokens.keys()) {
        const logits = Float64Array.from(
          await engine.nextLogits(tokens.slice(0, t + 1)),
          (x) => x / temperature,
        );
        const most = Math.max(...logits);
        const logSum = most + Math.log(logits.reduce((sum, x) => sum + Math.exp(x - most), 0));
        expected.push(logits[lossFnInputs["target_tokens"]!.data[t]!]! - logSum);
      }
      // Logits of up to 30 / 0.25 in float32.
      expect(largestGap(lossFnOutputs[i]!["logprobs"]!.data, expected)).toBeLessThan(3e-5);
    }
    await engine.close();
  });

  it("changes no bit at 1", async () => {
    const engine = await TrainingEngine.create({ model: MODEL, runtime });
    expect(await logprobsOf(engine, { temperature: 1 })).toEqual(await logprobsOf(engine));
    await engine.close();
  });

  // The head is linear: its weights divided by T are the logits divided by T, and d/dW = (d/d(W/T)) / T.
  it.each(
    Object.values(LOSSES)
      .filter(({ inputs, name }) => inputs.includes("advantages") || name === "cross_entropy")
      .map(({ name }) => name as LossFnName),
  )("%s trains at 0.5 as it does with a head twice as large", async (lossFn) => {
    const temperature = 0.5;
    const plain = await writeTinyModel(mkdtempSync(join(folder, "plain-")));
    const scaled = mkdtempSync(join(folder, "scaled-"));
    cpSync(plain, scaled, { recursive: true });
    writeShardedSafetensors(
      scaled,
      [...readGoldenTensors(join(plain, "model.safetensors"))].map(([name, { shape, data }]) => ({
        name,
        shape,
        dtype: "F32" as const,
        read: () => (name === "lm_head.weight" ? data.map((x) => x / temperature) : Float32Array.from(data)),
      })),
    );
    const [tempered, larger] = [
      await TrainingEngine.create({ model: plain, runtime }),
      await TrainingEngine.create({ model: scaled, runtime }),
    ];
    const [a, b] = [
      await tempered.forwardBackward(datumsFor(lossFn), lossFn, { temperature }),
      await larger.forwardBackward(datumsFor(lossFn), lossFn),
    ];
    expect(a.metrics["loss:sum"]).toBeCloseTo(b.metrics["loss:sum"]!, 3);
    const actual = takeGradients(tempered, mkdtempSync(join(folder, "tempered-")));
    const expected = new Map(takeGradients(larger, mkdtempSync(join(folder, "larger-"))).gradients);
    const head = expected.get("lm_head.weight")!;
    expected.set("lm_head.weight", { ...head, data: head.data.map((x) => x / temperature) });
    expect(actual.norm).toBeGreaterThan(0.01);
    expect(largestRelativeGap(actual.gradients, expected)).toBeLessThan(1e-5);
    await tempered.close();
    await larger.close();
  });

  it.each([
    ["full precision", {}],
    ["4-bit", { quantise: {} }],
  ] as const)(
    "forward of a trained adapter on a %s base gives the base's numbers without it",
    async (_title, base) => {
      const engine = await TrainingEngine.create({ model: MODEL, runtime, lora: LORA, ...base });
      const before = await logprobsOf(engine); // a fresh adapter adds nothing
      expect(await logprobsOf(engine, { withoutAdapter: true })).toEqual(before);
      await engine.forwardBackward(datums, "cross_entropy");
      engine.optimStep(ADAM);
      expect(largestGap(await logprobsOf(engine), before)).toBeGreaterThan(0.01);
      expect(await logprobsOf(engine, { withoutAdapter: true })).toEqual(before);
      const tempered = await logprobsOf(engine, { withoutAdapter: true, temperature: 2 });
      expect(largestGap(tempered, before)).toBeGreaterThan(0.01);
      await engine.close();
    },
  );
});

describe("options that make no sense", () => {
  const open = (options: Partial<EngineOptions> = {}): Promise<TrainingEngine> =>
    TrainingEngine.create({ model: MODEL, ...options });

  it.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])("temperature %s is refused", async (temperature) => {
    const engine = await open();
    for (const method of ["forward", "forwardBackward"] as const)
      await expect(engine[method](datums, "cross_entropy", { temperature })).rejects.toThrow(
        `Cannot compute logprobs at temperature ${temperature}: expected a positive number`,
      );
    await engine.close();
  });

  it("withoutAdapter is refused where there is no adapter, and where only the adapter is trained", async () => {
    const full = await open();
    await expect(full.forward(datums, "cross_entropy", { withoutAdapter: true })).rejects.toThrow(
      "Cannot compute logprobs without the adapter: this engine trains all weights, so there is no base model left. Keep the reference's logprobs from before training, or train with lora",
    );
    await full.close();
    const lora = await open({ lora: LORA });
    await expect(lora.forwardBackward(datums, "cross_entropy", { withoutAdapter: true })).rejects.toThrow(
      'Cannot train with "cross_entropy" without the adapter: nothing else is trained. Leave withoutAdapter to forward',
    );
    await lora.close();
  });
});

describe("createTrainingClient()", () => {
  it("takes both options across to the worker", async () => {
    const options = { model: MODEL, lora: LORA };
    const [client, engine] = [await createTrainingClient(options), await TrainingEngine.create(options)];
    for (const each of [client, engine]) {
      await each.forwardBackward(datums, "cross_entropy", { temperature: 0.5 });
      await each.optimStep(ADAM);
    }
    for (const asked of [{ temperature: 0.5 }, { withoutAdapter: true }])
      expect(await client.forward(datums, "cross_entropy", asked)).toEqual(
        await engine.forward(datums, "cross_entropy", asked),
      );
    await expect(client.forward(datums, "cross_entropy", { temperature: 0 })).rejects.toThrow(
      "Cannot compute logprobs at temperature 0: expected a positive number",
    );
    await client.close();
    await engine.close();
  });
});
