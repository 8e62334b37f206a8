/** `hone generate`: greedy decoding, for looking at what a model has learned. Recomputes every token's past: slow, plain. */
import { UserError } from "../../base/index.js";
import { createTrainingClient } from "../../engine/index.js";
import { checkFits, createChatRenderer, loadTokenizer, type TextTokenizer } from "../../text/index.js";
import { createOutput, type OutputOptions } from "../output.js";

export interface GenerateOptions extends OutputOptions {
  readonly prompt: string;
  readonly maxTokens: number;
  /** The prompt is a user's message, put into the model's chat template. */
  readonly chat: boolean;
  /** A PEFT adapter on top of the model. */
  readonly adapter?: string;
  readonly threads?: number;
}

export async function generate(model: string, options: GenerateOptions): Promise<void> {
  const output = createOutput(options);
  const { maxTokens, adapter, threads } = options;
  const tokenizer = loadTokenizer(model);
  const prompt = promptTokens(model, tokenizer, options);
  const client = await createTrainingClient({
    model,
    ...(adapter === undefined ? {} : { adapter }),
    ...(threads === undefined ? {} : { threads }),
  });
  try {
    checkFits(tokenizer, model, client.info.vocabularySize);
    const tokens = [...prompt];
    const text = (): string => tokenizer.decode(tokens, { skipSpecialTokens: true });
    const before = text();
    let written = before;
    if (!options.chat && !output.isJson) process.stdout.write(before);
    let stopReason = "length";
    while (tokens.length < prompt.length + maxTokens) {
      const next = greatest(await client.nextLogits(tokens));
      tokens.push(next);
      if (tokenizer.eosIds.includes(next)) {
        stopReason = "stop";
        break;
      }
      const now = text();
      // A character may need several tokens; until then the text ends in replacement characters.
      if (output.isJson || now.endsWith("\ufffd") || !now.startsWith(written)) continue;
      process.stdout.write(now.slice(written.length));
      written = now;
    }
    output.print("");
    output.record("completion", {
      prompt: options.prompt,
      text: text().slice(before.length),
      tokens: tokens.slice(prompt.length),
      stopReason,
    });
  } finally {
    await client.close();
  }
}

function promptTokens(model: string, tokenizer: TextTokenizer, { prompt, chat }: GenerateOptions): number[] {
  const tokens = chat
    ? createChatRenderer(model, { tokenizer }).render([{ role: "user", content: prompt }], {
        addGenerationPrompt: true,
      }).tokens_T
    : tokenizer.encode(prompt, { addSpecialTokens: true });
  if (tokens.length > 0) return [...tokens];
  throw new UserError(
    "Cannot generate: the prompt has 0 tokens and the tokenizer adds none, expected at least 1. Give a --prompt",
  );
}

/** The place of the greatest logit; the first of equals. */
function greatest(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id]! > logits[best]!) best = id;
  return best;
}
