/**
 * Datums → packed micro-batches: tokens of all sequences one after the other, without padding, and those that
 * neighbours begin with only once (shared-prefixes.ts). Rows exist only for providers that need them (row-layout.ts).
 */
import { UserError } from "../base/index.js";
import { datumTitle, type Loss, numberAtAnswer } from "../losses/index.js";
import { type ModelConfig, ropeTables } from "../nn/index.js";
import { type Datum, tokensOf } from "../protocol/index.js";
import { type HostTensor, hostTensor } from "../tensor/index.js";
import { int64, rowLayout } from "./row-layout.js";
import { packSequences, sharedPrefixes, splitSequences } from "./shared-prefixes.js";

/** A datum as arrays: N input tokens, N targets, N of each of the loss's inputs. */
export interface Example {
  readonly tokens_T: readonly number[];
  readonly targets_T: readonly number[];
  readonly lossInputs: Readonly<Record<string, readonly number[]>>;
}

export interface MicroBatch {
  /** Indices of the datums, in order. */
  readonly datums: readonly number[];
  readonly tensors: Readonly<Record<string, HostTensor>>;
  /** Every sequence has the same length and tokens of its own, so that rows are a mere reshape. */
  readonly uniform: boolean;
  /** For each supervised token, in order: the place in `datums` and the position in that datum. May be empty. */
  readonly supervised: readonly { readonly datum: number; readonly position: number }[];
  /** Tokens that are computed. */
  readonly tokenCount: number;
}

/** @throws UserError naming the datum, what was found and what was expected */
export function readExample(datum: Datum, index: number, loss: Loss, vocabularySize: number): Example {
  const refuse = (what: string): UserError =>
    new UserError(`Cannot train with "${loss.name}": ${datumTitle(loss, index)} ${what}`);
  const tokens_T = tokensOf(datum.modelInput);
  const N = tokens_T.length;
  const answer_T =
    loss.answersIn === undefined
      ? []
      : (datum.lossFnInputs[loss.answersIn]?.data ?? new Array<number>(N).fill(0));
  const perToken = (name: string): readonly number[] => {
    const tensor = datum.lossFnInputs[name];
    if (tensor === undefined) {
      const filler = loss.optional[name];
      if (filler === undefined) throw refuse(`has no ${name}, expected one number per target token`);
      return new Array<number>(N).fill(filler);
    }
    if (tensor.data.length === N) return tensor.data;
    const spread = numberAtAnswer(loss, name, tensor.data, answer_T);
    if (spread === null)
      throw refuse(`has ${tensor.data.length} ${name} for ${N} input tokens, expected equal`);
    return spread;
  };
  if (N === 0) throw refuse("has no tokens, expected at least 1");
  const readsTargets = loss.reads !== "scores";
  const known = new Set([...(readsTargets ? ["target_tokens"] : []), ...loss.inputs]);
  const unknown = Object.keys(datum.lossFnInputs).find((name) => !known.has(name));
  if (unknown !== undefined) throw refuse(`has "${unknown}", expected only ${[...known].join(", ")}`);
  if (readsTargets && datum.lossFnInputs["target_tokens"] === undefined)
    throw refuse("has no target_tokens, expected one per input token");
  const targets_T = readsTargets ? perToken("target_tokens") : tokens_T;
  for (const [what, ids] of [
    ["input", tokens_T],
    ["target", targets_T],
  ] as const) {
    const at = firstForeignId(ids, vocabularySize);
    if (at >= 0)
      throw refuse(
        `has ${what} token ${ids[at]} at position ${at}, expected an id below the vocabulary size ${vocabularySize}`,
      );
  }
  const lossInputs = Object.fromEntries(loss.inputs.map((name) => [name, perToken(name)]));
  if (loss.answersIn !== undefined && answer_T.every((weight) => weight === 0))
    throw refuse(`has no answer: its ${loss.answersIn} are all 0, expected at least one that is not`);
  for (const [name, values] of Object.entries(lossInputs)) {
    const at = values.findIndex((value) => !Number.isFinite(value));
    if (at >= 0) throw refuse(`has ${name} ${values[at]} at position ${at}, expected a finite number`);
  }
  return { tokens_T, targets_T, lossInputs };
}

/** Position of the first number that is no token id of the vocabulary, or -1. */
export function firstForeignId(ids: readonly number[], vocabularySize: number): number {
  return ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id >= vocabularySize);
}

/** Whether a token can have a gradient. */
export function isSupervised(loss: Loss, { lossInputs }: Example, position: number): boolean {
  return loss.supervisedBy.some((name) => lossInputs[name]![position] !== 0);
}

/**
 * Rows hold shared tokens once for each sequence, and attention over rows all its probabilities: a batch may hold so
 * many times the tokens in rows that it holds otherwise.
 */
const ROW_TOKENS_PER_TOKEN = 2;

export interface SplitOptions {
  readonly maxTokens: number;
  /** So many neighbours stay in one micro-batch, even where it then exceeds `maxTokens`. @default 1 */
  readonly datumsPerExample?: number;
  readonly sharePrefixes: boolean;
  /** Attention reads rows. */
  readonly rows: boolean;
}

/** Datums in micro-batches of at most `maxTokens`; an example that is longer stands alone. */
export function splitIntoMicroBatches(
  { rope }: ModelConfig,
  examples: readonly Example[],
  { maxTokens, sharePrefixes, rows, datumsPerExample = 1 }: SplitOptions,
): number[][] {
  const sequences_D_T = examples.map(({ tokens_T }) => tokens_T);
  const lengths_D = sequences_D_T.map(({ length }) => length);
  const shared_D = sharePrefixes ? sharedPrefixes(rope, sequences_D_T) : lengths_D.map(() => 0);
  const maxRowTokens = rows ? ROW_TOKENS_PER_TOKEN * maxTokens : Number.POSITIVE_INFINITY;
  return splitSequences(lengths_D, shared_D, { maxTokens, maxRowTokens, together: datumsPerExample });
}

export interface PackOptions {
  /** All tokens count as supervised: for callers that want every logprob. @default false */
  readonly everyToken?: boolean;
  /** Tokens with which neighbouring datums begin alike are computed once. @default true */
  readonly sharePrefixes?: boolean;
  /** With the layout in rows, which only some graphs read. @default true */
  readonly rows?: boolean;
}

/**
 * Packs some examples. A supervised token that several datums share is gathered once for each of them.
 * A batch that supervises nothing computes its first token, so that no tensor is empty; its loss inputs are zeros.
 */
export function packBatch(
  config: ModelConfig,
  loss: Loss,
  examples: readonly Example[],
  datums: readonly number[],
  { everyToken = false, sharePrefixes = true, rows = true }: PackOptions = {},
): MicroBatch {
  const members = datums.map((index) => examples[index]!);
  const sequences_D_T = members.map(({ tokens_T }) => tokens_T);
  const lengths = sequences_D_T.map(({ length }) => length);
  const shared_D = sharePrefixes ? sharedPrefixes(config.rope, sequences_D_T) : lengths.map(() => 0);
  const { flat_D_T, tokens_T, ends_T } = packSequences(sequences_D_T, shared_D);
  const tables = ropeTables(config.rope, lengths);
  const positions_T = new Int32Array(tokens_T.length);
  flat_D_T.forEach((flat_T, datum) => {
    const first = tables.firstRows[datum]!;
    for (let position = 0; position < flat_T.length; position++)
      positions_T[flat_T[position]!] = first + position;
  });
  const supervised = supervisedTokens(loss, members, everyToken);
  const computed = supervised.length === 0 ? [{ datum: 0, position: 0 }] : supervised;
  const perToken = <Numbers extends Int32Array | Float32Array>(
    numbers_S: Numbers,
    numberOf: (datum: number, position: number) => number,
  ): Numbers => {
    computed.forEach(({ datum, position }, i) => {
      numbers_S[i] = numberOf(datum, position);
    });
    return numbers_S;
  };
  const int64PerToken = (numberOf: (datum: number, position: number) => number): HostTensor =>
    int64(perToken(new Int32Array(computed.length), numberOf));
  const half = config.headWidth / 2;
  const tensors: Record<string, HostTensor> = {
    tokens: int64(tokens_T),
    positions: int64(positions_T),
    cos: hostTensor("float32", [tables.rows, half], tables.cos),
    sin: hostTensor("float32", [tables.rows, half], tables.sin),
    ends: hostTensor("int32", [ends_T.length], ends_T),
    supervised: int64PerToken((datum, position) => flat_D_T[datum]![position]!),
    targets: int64PerToken((datum, position) => members[datum]!.targets_T[position]!),
    sequences: int64(ranks(perToken(new Int32Array(computed.length), (datum) => datum))),
    ...(rows ? rowLayout(flat_D_T, tokens_T.length) : {}),
  };
  for (const name of loss.inputs) {
    const values_S = perToken(
      new Float32Array(computed.length),
      (datum, position) => members[datum]!.lossInputs[name]![position]!,
    );
    tensors[`loss.${name}`] = hostTensor("float32", [values_S.length], values_S);
  }
  const isShared = shared_D.some((shared, datum) => datum > 0 && shared > 0);
  return {
    datums,
    tensors,
    uniform: !isShared && lengths.every((length) => length === lengths[0]),
    supervised,
    tokenCount: tokens_T.length,
  };
}

function supervisedTokens(
  loss: Loss,
  members: readonly Example[],
  everyToken: boolean,
): MicroBatch["supervised"] {
  const supervised: { datum: number; position: number }[] = [];
  for (const [datum, example] of members.entries()) {
    for (let position = 0; position < example.tokens_T.length; position++)
      if (everyToken || isSupervised(loss, example, position)) supervised.push({ datum, position });
  }
  return supervised;
}

/** Numbers in runs of equal ones become 0, 1, 2… from run to run: below the count of numbers, however large they are. */
function ranks(values: Int32Array): Int32Array {
  let rank = 0;
  return values.map((value, i) => (i === 0 || value === values[i - 1] ? rank : ++rank));
}
