/** The embedded `TrainingClient`: an engine in a worker thread, so that the caller's event loop stays free. */
import { Worker } from "node:worker_threads";
import { CancelledError, UserError } from "../base/index.js";
import {
  AdamParams,
  type CallOptions,
  type ForwardBackwardOutput,
  type OptimStepOutput,
  type TrainingClient,
} from "../protocol/index.js";
import { type EngineMethod, fromPlainError, type Request, type Response } from "./messages.js";
import type { EngineOptions } from "./options.js";
import type { EngineInfo } from "./training-engine.js";

export interface EmbeddedTrainingClient extends TrainingClient {
  readonly info: EngineInfo;
  /** Logits [V] after the last of `tokens`: for looking at a model, not for sampling from it. */
  nextLogits(tokens: readonly number[], options?: CallOptions): Promise<Float32Array>;
}

interface Pending {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
  readonly cancel: () => void;
}

/**
 * Loads the model in a worker and resolves when it is ready.
 *
 * @throws UserError when the model, the adapter or the options are wrong
 * @example
 * const client = await createTrainingClient({ model: "models/qwen", lora: { rank: 16, alpha: 32 } });
 * await client.forwardBackward([nextTokenDatum([1, 2, 3], [0, 1, 1])], "cross_entropy");
 * await client.optimStep(AdamParams.parse({ learningRate: 1e-4 }));
 * await client.close();
 */
export async function createTrainingClient(options: EngineOptions): Promise<EmbeddedTrainingClient> {
  const worker = new Worker(workerUrl(), { workerData: options });
  const pending = new Map<number, Pending>();
  let nextId = 0;
  let ended: Error | null = null;

  let closing: Promise<void> | null = null;

  const failAll = (error: Error): void => {
    ended ??= error;
    for (const { reject } of pending.values()) reject(ended);
    pending.clear();
  };

  const info = await new Promise<EngineInfo>((resolve, reject) => {
    worker.on("message", (response: Response) => {
      if ("ready" in response) resolve(response.ready);
      else if ("error" in response && response.id === null) reject(fromPlainError(response.error));
      else if (response.id !== null) {
        const call = pending.get(response.id);
        pending.delete(response.id);
        if ("error" in response) call?.reject(fromPlainError(response.error));
        else call?.resolve(response.result as never); // the method's own result type
      }
    });
    const crash = (error: Error): void => {
      failAll(error);
      reject(error);
    };
    worker.on("error", (cause) =>
      crash(new Error(`Cannot go on: the engine's worker crashed (${cause.message})`, { cause })),
    );
    worker.on("exit", (code) =>
      crash(
        new Error(
          `Cannot go on: the engine's worker ended with exit code ${code}, expected it to live until close()`,
        ),
      ),
    );
  }).catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });

  const call = <Result>(
    method: EngineMethod,
    given: readonly unknown[],
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<Result> => {
    if (ended !== null) return Promise.reject(ended);
    if (signal?.aborted) return Promise.reject(new CancelledError(`Cancelled before ${method}`));
    const id = nextId++;
    const cancelled = new SharedArrayBuffer(4);
    const cancel = (): void => void Atomics.store(new Int32Array(cancelled), 0, 1);
    signal?.addEventListener("abort", cancel, { once: true });
    return new Promise<Result>((resolve, reject) => {
      const request: Request = { id, method, arguments: given, cancelled };
      worker.postMessage(request);
      pending.set(id, { resolve, reject, cancel });
    }).finally(() => signal?.removeEventListener("abort", cancel));
  };

  /** Rejects what is pending, lets the worker finish the micro-batch or file in hand, and ends it. */
  const close = async (): Promise<void> => {
    if (ended !== null) return;
    const interrupted = [...pending.values()];
    pending.clear();
    const closed = call("close", []);
    ended = new Error("Cannot call the engine: the client was closed");
    for (const { cancel, reject } of interrupted) {
      cancel();
      reject(ended);
    }
    await closed;
    await worker.terminate();
  };

  return {
    info,
    forward: (data, lossFn, { signal, ...options } = {}) =>
      call<ForwardBackwardOutput>("forward", [data, lossFn, options], { signal }),
    forwardBackward: (data, lossFn, { signal, ...options } = {}) =>
      call<ForwardBackwardOutput>("forwardBackward", [data, lossFn, options], { signal }),
    optimStep: async (params, rest) => call<OptimStepOutput>("optimStep", [checkedAdam(params)], rest),
    saveState: (directory, rest) => call("saveState", [directory], rest),
    loadState: (directory, rest) => call("loadState", [directory], rest),
    saveWeights: (directory, rest) => call("saveWeights", [directory], rest),
    loadWeights: (directory, rest) => call("loadWeights", [directory], rest),
    nextLogits: (tokens, rest) => call("nextLogits", [tokens], rest),
    close: () => (closing ??= close()),
  };
}

function checkedAdam(params: AdamParams): AdamParams {
  const parsed = AdamParams.safeParse(params);
  if (parsed.success) return parsed.data;
  const { path, message } = parsed.error.issues[0]!;
  throw new UserError(`Cannot take optimizer step: ${path.join(".") || "parameters"}: ${message}`);
}

/** The built worker; run from TypeScript sources (tests), the one that `npm run build` left in dist. */
function workerUrl(): URL {
  const built = import.meta.url.endsWith(".ts")
    ? import.meta.url.replace("/src/engine/", "/dist/engine/")
    : import.meta.url;
  return new URL("./worker.js", built);
}
