/** The embedded `SamplingClient`: a sampler in a worker thread of its own. */
import type { SamplingClient } from "../../protocol/index.js";
import { connectWorker } from "../connection.js";
import type { SamplerInfo } from "./open-sampler.js";
import { createSampleCall } from "./sample-call.js";
import type { SamplerOptions } from "./sampler-options.js";

export interface EmbeddedSamplingClient extends SamplingClient {
  readonly info: SamplerInfo;
}

/**
 * Loads a model for sampling in a worker and resolves when it is ready.
 *
 * @throws UserError when the model, an adapter or an option is wrong
 * @example
 * const sampler = await createSamplingClient({ model: "models/qwen" });
 * const { sequences } = await sampler.sample(modelInputFromTokens([1, 2, 3]), SamplingParams.parse({ maxTokens: 16 }));
 * await sampler.close();
 */
export async function createSamplingClient({
  decode,
  ...options
}: SamplerOptions): Promise<EmbeddedSamplingClient> {
  const { info, call, close } = await connectWorker<SamplerInfo>("./sampling/sampling-worker.js", options);
  return { info, sample: createSampleCall((given, rest) => call("sample", given, rest), decode), close };
}
