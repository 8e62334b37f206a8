/** Entry of the worker thread: one engine, one request after the other, in the order in which they came. */
import { parentPort, workerData } from "node:worker_threads";
import { CancelledError } from "../base/index.js";
import type { AdamParams, Datum, LossFnName } from "../protocol/index.js";
import { type Request, type Response, toPlainError } from "./messages.js";
import type { EngineOptions } from "./options.js";
import { type ForwardOptions, type IsCancelled, TrainingEngine } from "./training-engine.js";

const port = parentPort;
if (port === null) throw new Error("internal: worker.js was started as a program, expected a worker thread");

const answer = (response: Response): void => port.postMessage(response);

function call(
  engine: TrainingEngine,
  { method, arguments: given }: Request,
  isCancelled: IsCancelled,
): unknown {
  // The client's types hold on this side too: both ends are built from one source.
  switch (method) {
    case "forward":
    case "forwardBackward": {
      const [data, lossFn, options] = given as [Datum[], LossFnName, ForwardOptions];
      return engine[method](data, lossFn, { ...options, isCancelled });
    }
    case "optimStep":
      return engine.optimStep(given[0] as AdamParams);
    case "nextLogits":
      return engine.nextLogits(given[0] as number[]);
    case "close":
      return engine.close();
    default:
      return engine[method](given[0] as string);
  }
}

try {
  const engine = await TrainingEngine.create(workerData as EngineOptions); // the client's argument
  let queue: Promise<void> = Promise.resolve();
  port.on("message", (request: Request) => {
    const { id, cancelled, method } = request;
    const flag = new Int32Array(cancelled);
    const isCancelled = (): boolean => Atomics.load(flag, 0) === 1;
    queue = queue.then(async () => {
      try {
        if (isCancelled()) throw new CancelledError(`Cancelled before ${method}`);
        answer({ id, result: await call(engine, request, isCancelled) });
      } catch (thrown) {
        answer({ id, error: toPlainError(thrown) });
      }
      if (method === "close") port.close();
    });
  });
  answer({ ready: engine.info });
} catch (thrown) {
  answer({ id: null, error: toPlainError(thrown) });
}
