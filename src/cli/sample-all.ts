/** Samples every prompt with every adapter, many at once, and tells the results in the order of the prompts. */
import { CancelledError, UserError } from "../base/index.js";
import { createPromptProgress } from "./prompt-progress.js";
import {
  type Completion,
  decodeText,
  logprobTable,
  recordCompletion,
  type SampleJob,
  type SampleJobRequest,
  sampleRequest,
} from "./sample-job.js";

/** Requests under way at once; the engine decodes together as many as its cache holds. */
const REQUESTS_IN_FLIGHT = 256;

export async function sampleAll(
  job: SampleJob,
  requests: readonly SampleJobRequest[],
  signal: AbortSignal,
): Promise<void> {
  const { options, output } = job;
  const [only] = requests;
  if (
    only !== undefined &&
    requests.length === 1 &&
    options.n === 1 &&
    options.beams === undefined &&
    !output.isJson
  ) {
    await sampleOne(job, only, signal);
    return;
  }
  const progress = requests.length > 1 ? createPromptProgress(requests.length, process.stderr) : undefined;
  const finished = new Map<number, readonly Completion[]>();
  let [started, told] = [0, 0];
  const work = async (): Promise<void> => {
    while (started < requests.length) {
      const at = started++;
      const request = requests[at]!;
      const completions = await sampleRequest(job, request, { signal }).catch((error: unknown) => {
        if (!(error instanceof UserError)) throw error;
        throw new UserError(`${error.message} (${request.given.where})`, { cause: error });
      });
      progress?.add(completions.reduce((sum, { sequence }) => sum + sequence.tokens.length, 0));
      finished.set(at, completions);
      for (let ready = finished.get(told); ready !== undefined; ready = finished.get(told)) {
        for (const completion of ready) tell(job, requests[told]!, completion);
        finished.delete(told++);
      }
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(REQUESTS_IN_FLIGHT, requests.length) }, work));
  } catch (error) {
    if (!(error instanceof CancelledError)) throw error;
    throw new CancelledError(`Stopped after ${told} of ${requests.length} prompts`, { cause: error });
  } finally {
    progress?.stop();
  }
  if (options.output !== undefined)
    output.print(`Wrote ${requests.length * options.n} samples to ${options.output}`);
}

/** A single completion appears as it is drawn, after the text that it continues. */
async function sampleOne(job: SampleJob, request: SampleJobRequest, signal: AbortSignal): Promise<void> {
  const { options, output, tokenizer } = job;
  const isContinuation = typeof request.given.prompt === "string" && !options.chat;
  let unsaid = isContinuation ? decodeText(tokenizer)(request.tokens_T) : "";
  const onText = (text: string): void => {
    process.stdout.write(unsaid + text);
    unsaid = "";
  };
  const completions = await sampleRequest(job, request, { signal, onText });
  process.stdout.write("\n");
  for (const completion of completions) {
    recordCompletion(job, request, completion);
    if (options.logprobs) output.print(logprobTable(tokenizer, completion.sequence));
  }
}

function tell(job: SampleJob, request: SampleJobRequest, completion: Completion): void {
  const { options, output, tokenizer } = job;
  recordCompletion(job, request, completion);
  if (options.output !== undefined) return;
  const { line } = request.given;
  const labels = [
    ...(line === undefined ? [] : [`line ${line}`]),
    ...(request.adapter === undefined ? [] : [request.adapter]),
    ...(options.n > 1 ? [`sample ${completion.index + 1}`] : []),
  ];
  if (labels.length > 0) output.print(`── ${labels.join(", ")} ──`);
  output.print(completion.text);
  if (options.logprobs) output.print(logprobTable(tokenizer, completion.sequence));
}
