/**
 * Datums → packed micro-batches: tokens of all sequences one after the other, without padding. Rows exist only for
 * providers that need them (graph/ops/attention.ts).
 */
import { UserError } from "../base/index.js";
import type { Loss } from "../losses/index.js";
import { type ModelConfig, ropeTables } from "../nn/index.js";
import { type Datum, tokensOf } from "../protocol/index.js";
import { type HostTensor, hostTensor } from "../tensor/index.js";

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
  /** Every sequence has the same length, so that rows are a mere reshape. */
  readonly uniform: boolean;
  /** For each supervised token, in order: the place in `datums` and the position in that datum. May be empty. */
  readonly supervised: readonly { readonly datum: number; readonly position: number }[];
  readonly tokenCount: number;
}

/** @throws UserError naming the datum, what was found and what was expected */
export function readExample(datum: Datum, index: number, loss: Loss, vocabularySize: number): Example {
  const refuse = (what: string): UserError =>
    new UserError(`Cannot train with "${loss.name}": datum ${index} ${what}`);
  const tokens_T = tokensOf(datum.modelInput);
  const N = tokens_T.length;
  const perToken = (name: string): readonly number[] => {
    const tensor = datum.lossFnInputs[name];
    if (tensor === undefined) {
      const filler = loss.optional[name];
      if (filler === undefined) throw refuse(`has no ${name}, expected one number per target token`);
      return new Array<number>(N).fill(filler);
    }
    if (tensor.data.length !== N)
      throw refuse(`has ${tensor.data.length} ${name} for ${N} input tokens, expected equal`);
    return tensor.data;
  };
  if (N === 0) throw refuse("has no tokens, expected at least 1");
  const known = new Set(["target_tokens", ...loss.inputs]);
  const unknown = Object.keys(datum.lossFnInputs).find((name) => !known.has(name));
  if (unknown !== undefined) throw refuse(`has "${unknown}", expected only ${[...known].join(", ")}`);
  if (datum.lossFnInputs["target_tokens"] === undefined)
    throw refuse("has no target_tokens, expected one per input token");
  const targets_T = perToken("target_tokens");
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

/** Consecutive datums, as many as fit `maxTokens`; one that is longer stands alone. */
export function splitIntoMicroBatches(examples: readonly Example[], maxTokens: number): number[][] {
  const batches: number[][] = [];
  let room = 0;
  for (const [index, { tokens_T }] of examples.entries()) {
    if (batches.length === 0 || tokens_T.length > room) {
      batches.push([]);
      room = maxTokens;
    }
    batches.at(-1)!.push(index);
    room -= tokens_T.length;
  }
  return batches;
}

/**
 * Packs some examples. With `everyToken`, all tokens count as supervised: for callers that want every logprob.
 * A batch that supervises nothing computes its first token, so that no tensor is empty; its loss inputs are zeros.
 */
export function packBatch(
  config: ModelConfig,
  loss: Loss,
  examples: readonly Example[],
  datums: readonly number[],
  { everyToken = false }: { readonly everyToken?: boolean } = {},
): MicroBatch {
  const members = datums.map((index) => examples[index]!);
  const lengths = members.map(({ tokens_T }) => tokens_T.length);
  const { cos, sin, rows: tableRows, firstRows } = ropeTables(config.rope, lengths);
  const supervised = members.flatMap((example, datum) =>
    example.tokens_T.flatMap((_, position) =>
      everyToken || isSupervised(loss, example, position) ? [{ datum, position }] : [],
    ),
  );
  const computed = supervised.length === 0 ? [{ datum: 0, position: 0 }] : supervised;
  const firstTokens = lengths.map((_, i) => lengths.slice(0, i).reduce((a, b) => a + b, 0));
  const half = config.headWidth / 2;
  const tensors: Record<string, HostTensor> = {
    tokens: int64(members.flatMap(({ tokens_T }) => tokens_T)),
    positions: int64(
      members.flatMap(({ tokens_T }, i) => tokens_T.map((_, position) => firstRows[i]! + position)),
    ),
    cos: hostTensor("float32", [tableRows, half], cos),
    sin: hostTensor("float32", [tableRows, half], sin),
    supervised: int64(computed.map(({ datum, position }) => firstTokens[datum]! + position)),
    targets: int64(computed.map(({ datum, position }) => members[datum]!.targets_T[position]!)),
    sequences: int64(ranks(computed.map(({ datum }) => datum))),
    ...rowLayout(lengths, firstTokens),
  };
  for (const name of loss.inputs) {
    const values = computed.map(({ datum, position }) => members[datum]!.lossInputs[name]![position]!);
    tensors[`loss.${name}`] = hostTensor("float32", [values.length], Float32Array.from(values));
  }
  return {
    datums,
    tensors,
    uniform: lengths.every((length) => length === lengths[0]),
    supervised,
    tokenCount: lengths.reduce((a, b) => a + b, 0),
  };
}

/** Sequences laid out in rows as long as the longest, each into the fullest row that still has room. */
function rowLayout(lengths: readonly number[], firstTokens: readonly number[]): Record<string, HostTensor> {
  const length = Math.max(...lengths);
  const filled: number[] = [];
  const places = lengths.map(() => ({ row: 0, column: 0 }));
  const byLength = lengths.map((_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  for (const sequence of byLength) {
    const size = lengths[sequence]!;
    let row = -1;
    filled.forEach((used, candidate) => {
      if (used + size <= length && (row < 0 || used > filled[row]!)) row = candidate;
    });
    if (row < 0) row = filled.push(0) - 1;
    places[sequence] = { row, column: filled[row]! };
    filled[row]! += size;
  }
  const total = lengths.reduce((a, b) => a + b, 0);
  const starts = new Int32Array(total);
  const rows = new BigInt64Array(filled.length * length);
  const placeOf = new BigInt64Array(total);
  const startColumns = new BigInt64Array(filled.length * length);
  lengths.forEach((size, sequence) => {
    const { row, column } = places[sequence]!;
    const first = firstTokens[sequence]!;
    for (let i = 0; i < size; i++) {
      const place = row * length + column + i;
      starts[first + i] = first;
      rows[place] = BigInt(first + i);
      placeOf[first + i] = BigInt(place);
      startColumns[place] = BigInt(column);
    }
  });
  return {
    starts: hostTensor("int32", [total], starts),
    rows: hostTensor("int64", [rows.length], rows),
    places: hostTensor("int64", [total], placeOf),
    startColumns: hostTensor("int64", [startColumns.length], startColumns),
    columns: int64(Array.from({ length }, (_, column) => column)),
  };
}

/** Each distinct number becomes 0, 1, 2… in order of appearance: below their count, however large they are. */
function ranks(values: readonly number[]): number[] {
  const rankOf = new Map([...new Set(values)].map((value, rank) => [value, rank]));
  return values.map((value) => rankOf.get(value)!);
}

function int64(values: readonly number[]): HostTensor<"int64"> {
  return hostTensor("int64", [values.length], BigInt64Array.from(values, BigInt));
}
