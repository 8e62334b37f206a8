/** A client's end of a worker thread: calls, cancellation, events, the worker's death. Knows nothing about models. */
import { Worker } from "node:worker_threads";
import { CancelledError } from "../base/index.js";
import { fromPlainError, type Request, type Response } from "./messages.js";

export interface ConnectionCallOptions {
  readonly signal?: AbortSignal | undefined;
  /** Flags that the worker sees while it computes; the first is the signal's. @default one flag */
  readonly control?: SharedArrayBuffer;
  readonly onEvent?: (event: never) => void;
}

export interface Connection<Info> {
  readonly info: Info;
  /** The caller knows what the method of that name answers. */
  readonly call: <Result>(
    method: string,
    given: readonly unknown[],
    options?: ConnectionCallOptions,
  ) => Promise<Result>;
  /** Rejects what is pending, lets the worker finish the micro-batch or file in hand, and ends it. */
  readonly close: () => Promise<void>;
}

interface Pending {
  readonly resolve: (result: never) => void;
  readonly reject: (error: Error) => void;
  readonly cancel: () => void;
  readonly onEvent: ((event: never) => void) | undefined;
}

/** Starts `file` of this folder as a worker thread and resolves when it says that it is ready. */
export async function connectWorker<Info>(file: string, workerData: unknown): Promise<Connection<Info>> {
  const worker = new Worker(workerUrl(file), { workerData });
  const pending = new Map<number, Pending>();
  let nextId = 0;
  let ended: Error | null = null;
  let closing: Promise<void> | null = null;

  const failAll = (error: Error): void => {
    ended ??= error;
    for (const { reject } of pending.values()) reject(ended);
    pending.clear();
  };

  const info = await new Promise<Info>((resolve, reject) => {
    worker.on("message", (response: Response<Info>) => {
      if ("ready" in response) resolve(response.ready);
      else if ("error" in response && response.id === null) reject(fromPlainError(response.error));
      else if (response.id !== null) {
        const call = pending.get(response.id);
        if ("event" in response) {
          call?.onEvent?.(response.event as never); // the method's own kind of event
          return;
        }
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
    method: string,
    given: readonly unknown[],
    { signal, control = new SharedArrayBuffer(4), onEvent }: ConnectionCallOptions = {},
  ): Promise<Result> => {
    if (ended !== null) return Promise.reject(ended);
    if (signal?.aborted) return Promise.reject(new CancelledError(`Cancelled before ${method}`));
    const id = nextId++;
    const cancel = (): void => void Atomics.store(new Int32Array(control), 0, 1);
    signal?.addEventListener("abort", cancel, { once: true });
    return new Promise<Result>((resolve, reject) => {
      const request: Request = { id, method, arguments: given, control };
      worker.postMessage(request);
      pending.set(id, { resolve, reject, cancel, onEvent });
    }).finally(() => signal?.removeEventListener("abort", cancel));
  };

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

  return { info, call, close: () => (closing ??= close()) };
}

/** The built worker; run from TypeScript sources (tests), the one that `npm run build` left in dist. */
function workerUrl(file: string): URL {
  const built = import.meta.url.endsWith(".ts")
    ? import.meta.url.replace("/src/engine/", "/dist/engine/")
    : import.meta.url;
  return new URL(file, built);
}
