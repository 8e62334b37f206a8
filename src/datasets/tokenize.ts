/**
 * From an example to the tokens a model trains on and the mask of those that have a loss. Text and ids meet here and
 * nowhere else: a mask comes from the renderer's spans or from the prompt's own ids, never from text tokenised again.
 */
import { UserError } from "../base/index.js";
import type { ChatMessage, ChatRenderer, RenderedChat, Tokenizer } from "../text/index.js";
import type { Example, MessagesExample, PromptCompletionExample } from "./examples.js";

export type TrainOn = "completions" | "assistant" | "all";

/** What to do with a row longer than `maxLength`: drop its tail, drop its head, or refuse the file. */
export type TruncationPolicy = "keep_start" | "keep_end" | "refuse";

export interface TokenizeOptions {
  readonly tokenizer: Tokenizer;
  /** Needed for messages only. */
  readonly renderer?: ChatRenderer;
  /** @default "auto": completions of prompt-completion rows, the assistant's turns of messages, all of text */
  readonly trainOn?: TrainOn | "auto";
  /** In tokens. @default 1024 */
  readonly maxLength?: number;
  /** @default "keep_start" */
  readonly truncation?: TruncationPolicy;
  /** A BOS before text rows and prompts. @default "auto": as the tokenizer's own post-processor does */
  readonly addBos?: boolean | "auto";
  /** An EOS, with a loss, after text rows and completions that do not end in one. @default true */
  readonly addEos?: boolean;
}

/** One row to train on. `lossMask_T[i]` is 1 where predicting `tokens_T[i]` has a loss; `lossMask_T[0]` is 0. */
export interface TrainingRow {
  readonly tokens_T: Int32Array;
  readonly lossMask_T: Uint8Array;
  /** The line of the file it came from. */
  readonly line: number;
  /** Equal for rows with the same prompt. */
  readonly promptKey: string;
}

/** A row before truncation, with what the checks want to know about it. */
export interface TokenizedExample {
  readonly tokens_T: readonly number[];
  readonly lossMask_T: Uint8Array;
  /** The prompt's text joined with the completion's would have merged tokens across the boundary. */
  readonly mergesAtBoundary: boolean;
}

/** The tokens of `example` and their mask. `at` is its `file:line` for errors. */
export function tokenizeExample(example: Example, options: TokenizeOptions, at: string): TokenizedExample {
  const trainOn = resolveTrainOn(example, options.trainOn ?? "auto", at);
  switch (example.shape) {
    case "text": {
      const tokens_T = withEos([...bosOf(options), ...options.tokenizer.encode(example.text)], options, at);
      return { tokens_T, lossMask_T: maskOf(tokens_T.length, () => true), mergesAtBoundary: false };
    }
    case "messages": {
      const rendered = render(example.messages, example, options, at);
      const lossMask_T =
        trainOn === "all" ? maskOf(rendered.tokens_T.length, () => true) : sampledMask(rendered);
      return { tokens_T: rendered.tokens_T, lossMask_T, mergesAtBoundary: false };
    }
    case "prompt_completion":
      return example.sides.kind === "text"
        ? tokenizeTexts(example.sides, trainOn, options, at)
        : tokenizeTurns(example, example.sides, trainOn, options, at);
  }
}

const FITTING: Readonly<Record<string, readonly TrainOn[]>> = {
  text: ["all"],
  messages: ["assistant", "all"],
  "prompt_completion text": ["completions", "all"],
  "prompt_completion messages": ["completions", "assistant", "all"],
};

/** What `auto` means for an example; refuses what its shape cannot give. */
export function resolveTrainOn(example: Example, trainOn: TrainOn | "auto", at: string): TrainOn {
  const kind =
    example.shape === "prompt_completion" ? `prompt_completion ${example.sides.kind}` : example.shape;
  const fitting = FITTING[kind]!;
  if (trainOn === "auto") return fitting[0]!;
  if (fitting.includes(trainOn)) return trainOn;
  const rows =
    { text: '{"text"} rows', messages: '{"messages"} rows' }[kind] ?? "text prompts and completions";
  throw new UserError(
    `Cannot train on "${trainOn}" of ${at}: the file has ${rows}, expected trainOn ${["auto", ...fitting].map((one) => `"${one}"`).join(" or ")}`,
  );
}

/**
 * Prompt ids are exactly those that sampling would see; completion ids follow them. Where the ids of the joined text
 * begin with the prompt's, they are used (so a SentencePiece tokenizer adds no space); where tokens merge across the
 * boundary, both sides are tokenised alone.
 */
function tokenizeTexts(
  sides: { readonly prompt: string; readonly completion: string },
  trainOn: TrainOn,
  options: TokenizeOptions,
  at: string,
): TokenizedExample {
  const { tokenizer } = options;
  const prompt_T = tokenizer.encode(sides.prompt);
  const joined_T = tokenizer.encode(sides.prompt + sides.completion);
  const merges = !startsWith(joined_T, prompt_T);
  const completion_T = merges ? tokenizer.encode(sides.completion) : joined_T.slice(prompt_T.length);
  const start_T = [...bosOf(options), ...prompt_T];
  const ended_T = sides.completion === "" ? [] : withEos(completion_T, options, at);
  const tokens_T = [...start_T, ...ended_T];
  const lossMask_T = maskOf(tokens_T.length, (i) => trainOn === "all" || i >= start_T.length);
  return { tokens_T, lossMask_T, mergesAtBoundary: merges };
}

/** Messages on both sides: the assistant's words within the completion (or anywhere, or all tokens). */
function tokenizeTurns(
  example: PromptCompletionExample,
  sides: { readonly prompt: readonly ChatMessage[]; readonly completion: readonly ChatMessage[] },
  trainOn: TrainOn,
  options: TokenizeOptions,
  at: string,
): TokenizedExample {
  const whole = render([...sides.prompt, ...sides.completion], example, options, at);
  const sampled = sampledMask(whole);
  if (trainOn !== "completions") {
    const lossMask_T = trainOn === "all" ? maskOf(whole.tokens_T.length, () => true) : sampled;
    return { tokens_T: whole.tokens_T, lossMask_T, mergesAtBoundary: false };
  }
  const promptLength = promptLengthOf(whole, sides.prompt, example, options, at);
  const lossMask_T = maskOf(sampled.length, (i) => i >= promptLength && sampled[i] === 1);
  return { tokens_T: whole.tokens_T, lossMask_T, mergesAtBoundary: false };
}

/** Some templates (thinking models) open the turn to be sampled otherwise than a finished one: then without opening. */
function promptLengthOf(
  whole: RenderedChat,
  prompt: readonly ChatMessage[],
  example: PromptCompletionExample,
  options: TokenizeOptions,
  at: string,
): number {
  for (const addGenerationPrompt of [true, false]) {
    const rendered = render(prompt, example, options, at, addGenerationPrompt);
    if (startsWith(whole.tokens_T, rendered.tokens_T)) return rendered.tokens_T.length;
  }
  throw new UserError(
    `Cannot train on "completions" of ${at}: the chat template renders the prompt otherwise when the completion follows, expected the same tokens. Use trainOn "assistant"`,
  );
}

function render(
  messages: readonly ChatMessage[],
  example: MessagesExample | PromptCompletionExample,
  { renderer }: TokenizeOptions,
  at: string,
  addGenerationPrompt = false,
): RenderedChat {
  if (renderer === undefined) {
    throw new UserError(
      `Cannot render the messages of ${at}: the model has no chat template, expected one in tokenizer_config.json or chat_template.jinja. Add a template, or train on text prompts and completions`,
    );
  }
  try {
    return renderer.render(messages, {
      addGenerationPrompt,
      ...(example.tools === undefined ? {} : { tools: example.tools }),
    });
  } catch (thrown) {
    // Templates refuse conversations they do not know (roles that do not alternate); the row is what the user can fix.
    if (!(thrown instanceof Error)) throw thrown;
    throw new UserError(`Cannot render the messages of ${at}: ${thrown.message}`, { cause: thrown });
  }
}

function sampledMask({ tokens_T, spans }: RenderedChat): Uint8Array {
  const mask = new Uint8Array(tokens_T.length);
  for (const { source, start, end } of spans) if (source === "sampled") mask.fill(1, start, end);
  mask[0] = 0;
  return mask;
}

function maskOf(length: number, isTrained: (i: number) => boolean): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i > 0 && isTrained(i) ? 1 : 0));
}

function startsWith(tokens: readonly number[], prefix: readonly number[]): boolean {
  return prefix.length <= tokens.length && prefix.every((token, i) => tokens[i] === token);
}

function withEos(
  tokens: readonly number[],
  { tokenizer, addEos = true }: TokenizeOptions,
  at: string,
): number[] {
  if (!addEos) return [...tokens];
  const { eosId } = tokenizer;
  if (eosId === undefined) {
    throw new UserError(
      `Cannot end ${at} with EOS: the tokenizer names no eos_token, expected one in tokenizer_config.json. Set data.addEos to false to train without`,
    );
  }
  return tokens.at(-1) === eosId ? [...tokens] : [...tokens, eosId];
}

/** `auto` asks the tokenizer what it puts before a text. */
function bosOf({ tokenizer, addBos = "auto" }: TokenizeOptions): number[] {
  const { bosId } = tokenizer;
  if (addBos === false) return [];
  if (addBos === true && bosId === undefined) {
    throw new UserError(
      `Cannot set data.addBos: the tokenizer names no bos_token, expected one in tokenizer_config.json`,
    );
  }
  if (bosId === undefined) return [];
  return addBos === true || tokenizer.encode("a", { addSpecialTokens: true })[0] === bosId ? [bosId] : [];
}
