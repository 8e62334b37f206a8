/** The options of `hone sample`, checked against each other and turned into what a sampler takes. */
import { basename, resolve } from "node:path";
import { UserError } from "../base/index.js";
import { SamplingParams } from "../protocol/index.js";
import type { OutputOptions } from "./output.js";

export interface SampleCommandOptions extends OutputOptions {
  readonly prompt?: string;
  readonly file?: string;
  /** Prompts are messages of a user: put into the chat template. Without prompts, a conversation. */
  readonly chat: boolean;
  readonly system?: string;
  /** `FOLDER` or `name=FOLDER`. */
  readonly adapter: readonly string[];
  readonly n: number;
  readonly maxTokens?: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly stop: readonly string[];
  readonly seed: number;
  readonly greedy: boolean;
  /** Beam search among so many. */
  readonly beams?: number;
  readonly lengthPenalty?: number;
  readonly logprobs: boolean;
  readonly "4bit": boolean;
  readonly output?: string;
  readonly threads?: number;
}

/** Tokens added where neither the user nor the model's positions say less. */
export const USUAL_MAX_TOKENS = 200;

/** Options that say how to draw, which greedy decoding and beams leave without effect. */
const DRAWING = {
  temperature: "--temperature",
  topK: "--top-k",
  topP: "--top-p",
  minP: "--min-p",
} as const;

/** @throws UserError where two options contradict each other, or no prompt is given */
export function checkOptions(options: SampleCommandOptions): void {
  const { prompt, file, chat, greedy, beams, n, system, adapter } = options;
  const refuse = (what: string): never => {
    throw new UserError(`Cannot sample: ${what}`);
  };
  if (prompt !== undefined && file !== undefined)
    refuse("both --prompt and --file are given, expected one of them");
  const isConversation = prompt === undefined && file === undefined;
  if (isConversation && !chat) refuse("no prompt is given, expected --prompt TEXT, --file FILE or --chat");
  if (isConversation && n > 1)
    refuse(`--n is ${n}, expected 1 in a conversation. Give --prompt or --file to draw several samples`);
  if (isConversation && adapter.length > 1)
    refuse(`${adapter.length} adapters are given, expected at most one in a conversation`);
  if (system !== undefined && !chat)
    refuse("--system is given without --chat, expected both: only a chat has a system's message");
  const drawing = (Object.keys(DRAWING) as (keyof typeof DRAWING)[]).find(
    (name) => options[name] !== undefined,
  );
  const certain = greedy ? "--greedy" : beams !== undefined ? "--beams" : undefined;
  if (certain !== undefined && drawing !== undefined)
    refuse(
      `${certain} and ${DRAWING[drawing]} are given, expected one of them: ${certain} draws nothing at random`,
    );
  checkBeams(options, refuse);
  if (greedy && n > 1) refuse(`--n is ${n} with --greedy, expected 1: every sample would be the same`);
  if (adapter.length > 0) adaptersOf(options);
}

function checkBeams(
  { beams, lengthPenalty, greedy, chat, prompt, file, n, stop, repetitionPenalty }: SampleCommandOptions,
  refuse: (what: string) => never,
): void {
  if (beams === undefined) {
    if (lengthPenalty !== undefined)
      refuse(
        "--length-penalty is given without --beams, expected both: only beams have scores of whole texts",
      );
    return;
  }
  const without = (option: string, why: string): never =>
    refuse(`--beams and ${option} are given, expected one of them: ${why}`);
  if (greedy) without("--greedy", "one beam is greedy");
  if (stop.length > 0) without("--stop", "beams end with tokens, before there is text");
  if (repetitionPenalty !== undefined)
    without("--repetition-penalty", "beams compare the model's own logprobs");
  if (chat && prompt === undefined && file === undefined)
    refuse("--beams is given in a conversation, expected --prompt or --file with it");
  if (n > beams) refuse(`--n is ${n} and --beams is ${beams}, expected at most as many samples as beams`);
}

/** Parameters of one request. `stopTokens` end a completion besides the user's strings. */
export function samplingParamsOf(
  options: SampleCommandOptions,
  {
    stopTokens,
    seed,
    maxTokens,
  }: Readonly<{ stopTokens: readonly number[]; seed: number; maxTokens: number }>,
): SamplingParams {
  const { topK, topP, minP, repetitionPenalty } = options;
  const given = {
    temperature: options.greedy ? 0 : options.temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
  };
  return SamplingParams.parse({
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
    ...(options.beams === undefined ? {} : { numBeams: options.beams }),
    ...(options.lengthPenalty === undefined ? {} : { lengthPenalty: options.lengthPenalty }),
    maxTokens,
    seed,
    stop: [...options.stop.map(unescapeSigns), ...stopTokens],
  });
}

/** Folders of adapters by name; the name of one without is its folder's. */
export function adaptersOf({ adapter }: Pick<SampleCommandOptions, "adapter">): Record<string, string> {
  const adapters: Record<string, string> = {};
  for (const given of adapter) {
    const [, named, path] = /^([^=/\\]+)=(.+)$/s.exec(given) ?? [];
    const folder = path ?? given;
    const name = named ?? basename(resolve(folder));
    if (Object.hasOwn(adapters, name)) {
      throw new UserError(
        `Cannot sample: two adapters are called "${name}", expected names of their own. Give them as name=FOLDER`,
      );
    }
    adapters[name] = folder;
  }
  return adapters;
}

/** Shells make it hard to type a line's end: `\n`, `\t` and `\\` are taken as in a program's text. */
function unescapeSigns(text: string): string {
  const signs: Readonly<Record<string, string>> = { n: "\n", t: "\t", "\\": "\\" };
  return text.replace(/\\([nt\\])/g, (_, sign: string) => signs[sign]!);
}
