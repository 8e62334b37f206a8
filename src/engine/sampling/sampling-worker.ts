/** Entry of a sampling client's worker thread: one sampler. */
import { parentPort, workerData } from "node:worker_threads";
import { serve } from "../serve.js";
import { openSampler } from "./open-sampler.js";
import { answerSample } from "./sample-call.js";
import type { SamplingEngineOptions } from "./sampler-options.js";

await serve(parentPort, async () => {
  const { engine, info } = await openSampler(workerData as SamplingEngineOptions); // the client's argument
  return {
    info,
    mayOverlap: (method) => method === "sample",
    call: ({ method, arguments: given }, context) => {
      if (method === "sample") return answerSample(engine, given, context);
      if (method === "close") return engine.close();
      throw new Error(`internal: the sampler has no method "${method}"`);
    },
  };
});
