/** The shape of `tokenizer.json`, parsed at the door. Knows the format; knows nothing about what the parts do. */
import { UserError } from "../base/index.js";

/** One stage of a tokenizer (`normalizer`, `pre_tokenizer`…): a type and its own fields. */
export type Stage = Readonly<Record<string, unknown>> & { readonly type: string };

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
  readonly normalized: boolean;
  readonly singleWord: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** `tokenizer.json` as an object, as the `tokenizers` library writes it. */
export interface TokenizerJson {
  readonly added_tokens: readonly Readonly<Record<string, unknown>>[];
  readonly normalizer: Stage | null;
  readonly pre_tokenizer: Stage | null;
  readonly post_processor: Stage | null;
  readonly decoder: Stage | null;
  readonly model: Stage;
  readonly [field: string]: unknown;
}

/** `tokenizer_config.json` as an object; only the fields that are read are named. */
export interface TokenizerConfig {
  readonly chat_template?: unknown;
  readonly added_tokens_decoder?: unknown;
  readonly [field: string]: unknown;
}

/** Checks the outline of a `tokenizer.json`; each stage checks its own fields. @throws UserError naming `where` */
export function parseTokenizerJson(value: unknown, where: string): TokenizerJson {
  const fail = (found: string, expected: string): never => {
    throw new UserError(`Cannot read tokenizer ${where}: ${found}, expected ${expected}`);
  };
  if (!isRecord(value)) return fail(`it is ${describe(value)}`, "a JSON object");
  const stage = (field: string): Stage | null => {
    const part = value[field];
    if (part === undefined || part === null) return null;
    if (isStage(part)) return part;
    return fail(`"${field}" is ${describe(part)}`, 'an object with a "type" or null');
  };
  // Old files leave the model's type out; a vocabulary with merges is BPE.
  const untyped = value["model"];
  const model =
    isRecord(untyped) && untyped["type"] === undefined && untyped["merges"] !== undefined
      ? { ...untyped, type: "BPE" }
      : stage("model");
  if (model === null) return fail('it has no "model"', 'an object with "type" and "vocab"');
  const added = value["added_tokens"] ?? [];
  if (!Array.isArray(added) || !added.every(isRecord)) {
    return fail(`"added_tokens" is ${describe(added)}`, "a list of objects");
  }
  return {
    ...value,
    added_tokens: added,
    normalizer: stage("normalizer"),
    pre_tokenizer: stage("pre_tokenizer"),
    post_processor: stage("post_processor"),
    decoder: stage("decoder"),
    model,
  };
}

/** An entry of `added_tokens`, or of `added_tokens_decoder` with its id. */
export function parseAddedToken(entry: Readonly<Record<string, unknown>>, where: string): AddedToken {
  const { id, content } = entry;
  if (!isTokenId(id) || typeof content !== "string" || content.length === 0) {
    throw new UserError(
      `Cannot read tokenizer ${where}: added token ${JSON.stringify(entry)} has no usable "id" and "content", expected a whole number >= 0 and a non-empty string`,
    );
  }
  const special = entry["special"] === true;
  return {
    id,
    content,
    special,
    normalized: entry["normalized"] === undefined ? !special : entry["normalized"] === true,
    singleWord: entry["single_word"] === true,
    lstrip: entry["lstrip"] === true,
    rstrip: entry["rstrip"] === true,
  };
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export function isStage(value: unknown): value is Stage {
  return isRecord(value) && typeof value["type"] === "string";
}

/** Ids index arrays, so a file may not name one beyond any real vocabulary. */
export function isTokenId(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value < 1 << 24;
}

/** "a list", "the number 3": what was found, for error messages. */
export function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  const text = JSON.stringify(value) ?? String(value);
  return `the ${typeof value} ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`;
}
