/** The engine behind its worker thread (built: `npm run build`): order, errors, cancellation, crashes, the end. */
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { CancelledError, UserError } from "../../src/base/index.js";
import {
  createTrainingClient,
  type EmbeddedTrainingClient,
  type EngineOptions,
  TrainingEngine,
} from "../../src/engine/index.js";
import { readGoldenTensors } from "../golden/read.js";
import { ADAM, largestGap, randomDatums, TINY_CONFIG, temporaryFolder } from "./tiny-models.js";

const folder = temporaryFolder();
const OPTIONS: EngineOptions = { model: { config: TINY_CONFIG, seed: 3 }, microBatchTokens: 8, threads: 1 };
const datums = randomDatums(1, [5, 8, 3, 7]);
const many = randomDatums(2, new Array<number>(400).fill(8));
const TOKENS = [1, 2, 3];

/** A client and the thread behind it, as Node announces it. */
async function openWithWorker(): Promise<{ client: EmbeddedTrainingClient; worker: Worker }> {
  const announced = new Promise<Worker>((resolve) => process.once("worker", resolve));
  const client = await createTrainingClient(OPTIONS);
  return { client, worker: await announced };
}

describe("createTrainingClient()", () => {
  it("gives the engine's own numbers, files included", async () => {
    const client = await createTrainingClient(OPTIONS);
    const engine = await TrainingEngine.create(OPTIONS);
    expect(client.info).toEqual(engine.info);
    expect(await client.forward(datums, "cross_entropy")).toEqual(
      await engine.forward(datums, "cross_entropy"),
    );
    const ppo = randomDatums(4, [6, 6]).map(({ modelInput, lossFnInputs }) => ({
      modelInput,
      lossFnInputs: {
        target_tokens: lossFnInputs["target_tokens"]!,
        advantages: lossFnInputs["weights"]!,
        logprobs: { ...lossFnInputs["weights"]!, data: new Array<number>(6).fill(-2) },
      },
    }));
    const lossFnConfig = { clip_low_threshold: 0.1, clip_high_threshold: 1.01 };
    const supervisedOnly = true;
    expect(await client.forward(ppo, "ppo", { lossFnConfig, supervisedOnly })).toEqual(
      await engine.forward(ppo, "ppo", { lossFnConfig, supervisedOnly }),
    );
    for (const each of [client, engine]) {
      await each.forwardBackward(ppo, "ppo", { lossFnConfig });
      await each.optimStep(ADAM);
      await each.saveState(join(folder, each === client ? "client" : "engine"));
    }
    for (const file of ["model.safetensors", "optimizer.safetensors"])
      expect(readGoldenTensors(join(folder, "client", file))).toEqual(
        readGoldenTensors(join(folder, "engine", file)),
      );
    expect(await client.nextLogits(TOKENS)).toEqual(await engine.nextLogits(TOKENS));
    await client.close();
    await engine.close();
  });

  it("runs calls in the order in which they were made", async () => {
    const client = await createTrainingClient(OPTIONS);
    const waiting = await createTrainingClient(OPTIONS);
    const finished: string[] = [];
    const note = <T>(name: string, call: Promise<T>): Promise<T> =>
      call.then((result) => {
        finished.push(name);
        return result;
      });
    const inFlight = [
      note("gradients", client.forwardBackward(many, "cross_entropy")),
      note("step", client.optimStep(ADAM)),
      note("logits", client.nextLogits(TOKENS)),
      note("second step", client.optimStep(ADAM)),
      note("second logits", client.nextLogits(TOKENS)),
    ] as const;
    await waiting.forwardBackward(many, "cross_entropy");
    await waiting.optimStep(ADAM);
    expect(await inFlight[2]).toEqual(await waiting.nextLogits(TOKENS));
    await waiting.optimStep(ADAM);
    expect(await inFlight[4]).toEqual(await waiting.nextLogits(TOKENS));
    expect(finished).toEqual(["gradients", "step", "logits", "second step", "second logits"]);
    await client.close();
    await waiting.close();
  });
});

describe("errors", () => {
  it("keep their class and message across the thread, and the client goes on", async () => {
    const client = await createTrainingClient(OPTIONS);
    const [datum] = randomDatums(1, [3]);
    const bad = { ...datum!, lossFnInputs: { target_tokens: { data: [1, 2, 40], dtype: "int64" as const } } };
    const attempt = client.forwardBackward([bad], "cross_entropy");
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(
      new UserError(
        'Cannot train with "cross_entropy": datum 0 has target token 40 at position 2, expected an id below the vocabulary size 40',
      ),
    );
    const step = client.optimStep({ ...ADAM, learningRate: -1 });
    await expect(step).rejects.toThrow(UserError);
    await expect(step).rejects.toThrow("Cannot take optimizer step: learningRate: ");
    await expect(client.loadState(join(folder, "nowhere"))).rejects.toThrow(UserError);
    expect((await client.forward(datums, "cross_entropy")).lossFnOutputs).toHaveLength(4);
    await client.close();
  });

  it("of creation reject createTrainingClient(), class kept", async () => {
    const attempt = createTrainingClient({ model: join(folder, "nowhere") });
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(
      `Cannot open model "${join(folder, "nowhere")}": there is no such folder, expected one with config.json, model.safetensors and tokenizer.json`,
    );
  });

  it("a gradient that is not finite is a UserError that changes no weight", async () => {
    // An infinite loss from finite inputs: the ratio e^(−1 − (−1000)) overflows float32.
    const client = await createTrainingClient(OPTIONS);
    const before = await client.nextLogits(TOKENS);
    const [datum] = randomDatums(1, [3]);
    const data = [-1000, -1000, -1000];
    const overflow = {
      ...datum!,
      lossFnInputs: {
        target_tokens: datum!.lossFnInputs["target_tokens"]!,
        logprobs: { data, dtype: "float32" as const },
        advantages: { data: [1, 1, 1], dtype: "float32" as const },
      },
    };
    const output = await client.forwardBackward([overflow], "importance_sampling");
    expect(output.metrics["loss:sum"]).toBe(Number.NEGATIVE_INFINITY);
    const attempt = client.optimStep(ADAM);
    await expect(attempt).rejects.toThrow(UserError);
    await expect(attempt).rejects.toThrow(
      /^Cannot take optimizer step 1: the gradient of "[a-z0-9_.]+" has NaN or infinite elements, expected finite ones\. Weights are unchanged$/,
    );
    expect(await client.nextLogits(TOKENS)).toEqual(before);
    await client.forwardBackward(datums, "cross_entropy");
    expect((await client.optimStep(ADAM)).metrics["optimizer_step:max"]).toBe(1);
    await client.close();
  });
});

describe("cancellation", () => {
  it("between micro-batches drops the gradients and leaves a usable engine with its weights", async () => {
    const [engine, twin] = [await TrainingEngine.create(OPTIONS), await TrainingEngine.create(OPTIONS)];
    for (const cancelAt of [1, 3]) {
      let asked = 0;
      const attempt = engine.forwardBackward(many, "cross_entropy", {
        isCancelled: () => ++asked === cancelAt,
      });
      await expect(attempt).rejects.toThrow(CancelledError);
      expect(asked).toBe(cancelAt);
    }
    for (const each of [engine, twin]) {
      await each.forwardBackward(datums, "cross_entropy");
      each.optimStep(ADAM);
    }
    expect(await engine.nextLogits(TOKENS)).toEqual(await twin.nextLogits(TOKENS));
    await engine.close();
    await twin.close();
  });

  it("by AbortSignal: before, while queued and while running", async () => {
    const client = await createTrainingClient(OPTIONS);
    const before = await client.nextLogits(TOKENS);
    const dead = client.forward(datums, "cross_entropy", { signal: AbortSignal.abort() });
    await expect(dead).rejects.toThrow(new CancelledError("Cancelled before forward"));

    const [running, queued] = [new AbortController(), new AbortController()];
    const first = client.forwardBackward(many, "cross_entropy", { signal: running.signal });
    const second = client.optimStep(ADAM, { signal: queued.signal });
    const third = client.nextLogits(TOKENS);
    queued.abort();
    running.abort();
    await expect(first).rejects.toThrow(CancelledError);
    await expect(second).rejects.toThrow(new CancelledError("Cancelled before optimStep"));
    expect(await third).toEqual(before);

    // A signal that fires after the call has no effect.
    const late = new AbortController();
    const output = await client.forwardBackward(datums, "cross_entropy", { signal: late.signal });
    late.abort();
    expect(output.lossFnOutputs).toHaveLength(4);
    await client.optimStep(ADAM);
    expect(largestGap(await client.nextLogits(TOKENS), before)).toBeGreaterThan(1e-4);
    await client.close();
  });
});

describe("a crash of the worker", () => {
  it("by an exception outside a call rejects what is pending and what comes after, with the cause", async () => {
    const { client, worker } = await openWithWorker();
    const pending = [client.forwardBackward(many, "cross_entropy"), client.optimStep(ADAM)];
    worker.postMessage(null);
    const results = await Promise.allSettled(pending);
    for (const result of results) {
      expect(result.status).toBe("rejected");
      const { reason } = result as PromiseRejectedResult;
      expect(reason).not.toBeInstanceOf(UserError);
      expect(reason.message).toMatch(/^Cannot go on: the engine's worker crashed \(Cannot destructure .+\)$/);
      expect(reason.cause).toBeInstanceOf(TypeError);
    }
    await expect(client.nextLogits(TOKENS)).rejects.toThrow("Cannot go on: the engine's worker crashed");
    await client.close();
  });

  it("by the end of its thread does the same", async () => {
    const { client, worker } = await openWithWorker();
    const pending = [client.forwardBackward(many, "cross_entropy"), client.saveState(join(folder, "dead"))];
    await worker.terminate();
    const message =
      "Cannot go on: the engine's worker ended with exit code 1, expected it to live until close()";
    for (const call of pending) await expect(call).rejects.toThrow(new Error(message));
    await expect(client.forward(datums, "cross_entropy")).rejects.toThrow(new Error(message));
    await client.close();
  });

  it("while the model loads rejects createTrainingClient()", async () => {
    process.once("worker", (worker: Worker) => void worker.terminate());
    await expect(createTrainingClient(OPTIONS)).rejects.toThrow(
      /^Cannot go on: the engine's worker ended with exit code \d, expected it to live until close\(\)$/,
    );
  });
});

describe("close()", () => {
  it("rejects pending and later calls, ends the thread, and may be called again", async () => {
    const { client, worker } = await openWithWorker();
    const ended = new Promise<number>((resolve) => worker.once("exit", resolve));
    const pending = client.forwardBackward(many, "cross_entropy").catch((error: unknown) => error);
    const [first, second] = [client.close(), client.close()];
    expect(await pending).toEqual(new Error("Cannot call the engine: the client was closed"));
    await Promise.all([first, second]);
    await ended;
    await expect(client.forward(datums, "cross_entropy")).rejects.toThrow(
      new Error("Cannot call the engine: the client was closed"),
    );
    await client.close();
  });
});
