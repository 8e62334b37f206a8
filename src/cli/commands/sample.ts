/** `hone sample`: completions of prompts from the command line or a file, or a conversation. */
import { setMaxListeners } from "node:events";
import { appendFileSync, existsSync, writeFileSync } from "node:fs";
import { messageOf, UserError } from "../../base/index.js";
import { createSamplingClient } from "../../engine/index.js";
import { type ChatRenderer, checkFits, createChatRenderer, loadTokenizer } from "../../text/index.js";
import { converse } from "../conversation.js";
import { createOutput } from "../output.js";
import { sampleAll } from "../sample-all.js";
import { decodeText, type SampleJob } from "../sample-job.js";
import { adaptersOf, checkOptions, type SampleCommandOptions } from "../sample-options.js";
import { endTokens, type GivenPrompt, promptTokens, readPrompts } from "../sample-prompts.js";

/** @throws UserError for what the user can mend, `CancelledError` when Ctrl-C stopped it */
export async function sample(model: string, options: SampleCommandOptions): Promise<void> {
  checkOptions(options);
  const { chat, system, seed, threads } = options;
  const tokenizer = loadTokenizer(model);
  let made: ChatRenderer | undefined;
  const renderer = (): ChatRenderer => (made ??= createChatRenderer(model, { tokenizer }));
  if (chat) renderer();
  // All before the model is loaded, so that a faulty prompt or file costs nothing.
  const prompts = await givenPrompts(options);
  const tokens_P_T = prompts.map((given) => promptTokens(given, { tokenizer, renderer, chat, system }));
  const stopTokens = endTokens(tokenizer, made);
  const adapters = adaptersOf(options);
  const names = Object.keys(adapters);
  const write = createRecordFile(options.output);
  const client = await createSamplingClient({
    model,
    adapters,
    decode: decodeText(tokenizer),
    ...(options["4bit"] ? { quantise: {} } : {}),
    ...(threads === undefined ? {} : { threads }),
  });
  try {
    checkFits(tokenizer, model, client.info.vocabularySize);
    const output = createOutput(options);
    const job: SampleJob = { options, output, tokenizer, renderer, client, stopTokens, write };
    if (prompts.length === 0) return await converse(job, names[0]);
    const requests = prompts.flatMap((given, p) =>
      (names.length === 0 ? [undefined] : names).map((adapter) => ({
        given,
        adapter,
        tokens_T: tokens_P_T[p]!,
        seed: seed + p,
      })),
    );
    await untilInterrupted((signal) => sampleAll(job, requests, signal));
  } finally {
    await client.close();
  }
}

/** The prompts to sample; none for a conversation. */
async function givenPrompts({ prompt, file }: SampleCommandOptions): Promise<GivenPrompt[]> {
  if (file !== undefined) return readPrompts(file);
  return prompt === undefined ? [] : [{ prompt, where: "--prompt" }];
}

/** Ctrl-C ends the work with a `CancelledError`. */
async function untilInterrupted(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const controller = new AbortController();
  // Every request in flight listens to it.
  setMaxListeners(0, controller.signal);
  const interrupt = (): void => controller.abort();
  process.once("SIGINT", interrupt);
  try {
    await work(controller.signal);
  } finally {
    process.off("SIGINT", interrupt);
  }
}

/** Appends records to a new file, a line each; without a path it does nothing. */
function createRecordFile(path: string | undefined): SampleJob["write"] {
  if (path === undefined) return () => {};
  if (existsSync(path)) {
    throw new UserError(
      `Cannot write samples to ${path}: it exists, expected a new file. Name another, or remove it`,
    );
  }
  try {
    writeFileSync(path, "");
  } catch (error) {
    throw new UserError(
      `Cannot write samples to ${path}: ${messageOf(error)}, expected a file that can be made`,
      { cause: error },
    );
  }
  return (record) => appendFileSync(path, `${JSON.stringify(record)}\n`);
}
