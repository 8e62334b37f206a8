/** A conversation with a model: lines of standard input are the user's messages, and the history goes along. */
import { createInterface } from "node:readline";
import { CancelledError, UserError } from "../base/index.js";
import type { ChatMessage } from "../text/index.js";
import { logprobTable, recordCompletion, type SampleJob, sampleRequest } from "./sample-job.js";
import { promptTokens } from "./sample-prompts.js";

const HELP = "Type a message. /new starts anew, Ctrl-C stops an answer, Ctrl-D ends the conversation";

/** Goes on until the input ends. Ctrl-C stops the answer under way; while nothing is under way it ends the program. */
export async function converse(job: SampleJob, adapter: string | undefined): Promise<void> {
  const { options, output, tokenizer } = job;
  const { system } = options;
  const isTerminal = process.stdin.isTTY === true && !output.isJson;
  const opening: readonly ChatMessage[] = system === undefined ? [] : [{ role: "system", content: system }];
  let messages = opening;
  let turn = 0;
  const lines = createInterface({
    input: process.stdin,
    ...(isTerminal ? { output: process.stdout } : {}),
    prompt: "> ",
  });
  let answering: AbortController | undefined;
  const interrupt = (): void => {
    if (answering === undefined) lines.close();
    else answering.abort();
  };
  process.on("SIGINT", interrupt);
  lines.on("SIGINT", interrupt);
  if (isTerminal) {
    output.print(HELP);
    lines.prompt();
  }
  try {
    for await (const line of lines) {
      const content = line.trim();
      if (content === "/new") messages = opening;
      else if (content !== "") {
        const asked = [...messages, { role: "user", content }];
        answering = new AbortController();
        const answer = await answerTo(asked, answering.signal);
        answering = undefined;
        if (answer !== undefined) messages = [...asked, { role: "assistant", content: answer }];
      }
      if (isTerminal) lines.prompt();
    }
  } finally {
    lines.close();
    process.off("SIGINT", interrupt);
  }

  /** The answer's text; undefined when there is none: the message then counts as not sent. */
  async function answerTo(asked: readonly ChatMessage[], signal: AbortSignal): Promise<string | undefined> {
    const given = { prompt: asked, where: `message ${asked.length}` };
    const say = output.isJson ? {} : { onText: (text: string) => void process.stdout.write(text) };
    try {
      const tokens_T = promptTokens(given, { tokenizer, renderer: job.renderer, chat: true });
      const { maxPositions } = job.client.info;
      if (tokens_T.length >= maxPositions) {
        throw new UserError(
          `Cannot go on with the conversation: it has ${tokens_T.length} tokens, expected fewer than the model's ${maxPositions} positions. Start anew with /new`,
        );
      }
      const request = { given, tokens_T, adapter, seed: options.seed + turn++ };
      const [completion] = await sampleRequest(job, request, { signal, ...say });
      output.print("");
      recordCompletion(job, request, completion!);
      if (options.logprobs) output.print(logprobTable(tokenizer, completion!.sequence));
      return completion!.text;
    } catch (error) {
      // On a terminal the conversation goes on after a mistake; a script is to hear of it.
      const isMistake = isTerminal && error instanceof UserError;
      if (!(error instanceof CancelledError) && !isMistake) throw error;
      output.print(isMistake ? error.message : "\n(stopped; the message counts as not sent)");
      return undefined;
    }
  }
}
