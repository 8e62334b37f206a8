/** Entry of the training client's worker thread: one engine, and a sampler of its weights when one is asked for. */
import { parentPort, workerData } from "node:worker_threads";
import type { AdamParams, Datum, LossFnName } from "../protocol/index.js";
import type { ForwardOptions } from "./graph-form.js";
import type { Request } from "./messages.js";
import type { EngineOptions } from "./options.js";
import { answerSample, type SamplingEngine, type SharedSamplerOptions } from "./sampling/index.js";
import type { ScoredSequence } from "./scored-sequence.js";
import { type CallContext, serve } from "./serve.js";
import { TrainingEngine } from "./training-engine.js";

await serve(parentPort, async () => {
  const engine = await TrainingEngine.create(workerData as EngineOptions); // the client's argument
  const samplers = new Map<number, SamplingEngine>();
  // The client's types hold on this side too: both ends are built from one source.
  const call = async ({ method, arguments: given }: Request, context: CallContext): Promise<unknown> => {
    const { isCancelled } = context;
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
      case "scores":
        return engine.scores(given[0] as ScoredSequence[], { isCancelled });
      case "openSampler":
        samplers.set(given[0] as number, engine.samplingEngine(given[1] as SharedSamplerOptions));
        return undefined;
      case "sample":
        return answerSample(samplers.get(given[0] as number)!, given.slice(1), context);
      case "closeSampler": {
        const id = given[0] as number;
        await samplers.get(id)?.close();
        samplers.delete(id);
        return undefined;
      }
      case "close":
        for (const sampler of samplers.values()) await sampler.close();
        return engine.close();
      case "saveState":
      case "loadState":
      case "saveWeights":
      case "loadWeights":
        return engine[method](given[0] as string);
      default:
        throw new Error(`internal: the engine has no method "${method}"`);
    }
  };
  return { info: engine.info, call, mayOverlap: (method) => method === "sample" };
});
