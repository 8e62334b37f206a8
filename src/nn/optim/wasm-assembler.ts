/**
 * Writes WebAssembly modules: the dozen instructions our kernels need, as functions that nest like the text format.
 * `add(get(a), get(b))` is the code of both operands followed by the opcode. Knows nothing about optimizers.
 * Opcodes: https://webassembly.github.io/spec/core/binary/instructions.html
 */

/** Encoded instructions, in the order the stack machine executes them. */
export type Code = readonly number[];

const VALUE_TYPES = { i32: 0x7f, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValueType = keyof typeof VALUE_TYPES;

/** A parameter or local variable of the function being written. */
export interface Variable {
  readonly get: Code;
  set(value: Code): Code;
}

export interface WasmFunction {
  readonly parameterTypes: readonly ValueType[];
  readonly localTypes: readonly ValueType[];
  readonly result: ValueType | null;
  readonly body: Code;
}

/** Names the parameters and locals of a function and hands them to `body` as variables. */
export function wasmFunction<P extends string, L extends string>(
  signature: {
    readonly parameters: Readonly<Record<P, ValueType>>;
    readonly locals: Readonly<Record<L, ValueType>>;
    readonly result?: ValueType;
  },
  body: (variables: Readonly<Record<P | L, Variable>>) => readonly Code[],
): WasmFunction {
  const names = [...Object.keys(signature.parameters), ...Object.keys(signature.locals)];
  const variables = names.map((name, i): [string, Variable] => [
    name,
    { get: [0x20, ...unsigned(i)], set: (value) => [...value, 0x21, ...unsigned(i)] },
  ]);
  return {
    parameterTypes: Object.values<ValueType>(signature.parameters),
    localTypes: Object.values<ValueType>(signature.locals),
    result: signature.result ?? null,
    // The entries are exactly the keys of both records, which `Object.fromEntries` cannot express.
    body: body(Object.fromEntries(variables) as Record<P | L, Variable>).flat(),
  };
}

/** A module that imports its memory as `env.memory` and exports `functions` by name. */
export function assembleModule(functions: Readonly<Record<string, WasmFunction>>): Uint8Array<ArrayBuffer> {
  const all = Object.entries(functions);
  const typesOf = (types: readonly ValueType[]): Code => vector(types.map((type) => [VALUE_TYPES[type]]));
  const types = all.map(([, { parameterTypes, result }]) => [
    0x60,
    ...typesOf(parameterTypes),
    ...typesOf(result === null ? [] : [result]),
  ]);
  const memoryImport = [...text("env"), ...text("memory"), 0x02, 0x00, ...unsigned(0)];
  const exported = all.map(([name], i) => [...text(name), 0x00, ...unsigned(i)]);
  const bodies = all.map(([, { localTypes, body }]) => {
    const locals = vector(localTypes.map((type) => [1, VALUE_TYPES[type]]));
    const code = [...locals, ...body, END];
    return [...unsigned(code.length), ...code];
  });
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // "\0asm", version 1
    ...section(1, vector(types)),
    ...section(2, vector([memoryImport])),
    ...section(3, vector(all.map((_, i) => unsigned(i)))),
    ...section(7, vector(exported)),
    ...section(10, vector(bodies)),
  ]);
}

const END = 0x0b;
const VOID_BLOCK = 0x40;

/** Repeats `body` while `condition`, tested after each pass, is not 0. */
export function doWhile(condition: Code, body: readonly Code[]): Code {
  return [0x03, VOID_BLOCK, ...body.flat(), ...condition, 0x0d, ...unsigned(0), END];
}

export const i32 = {
  constant: (value: number): Code => [0x41, ...signed(value)],
  add: binary([0x6a]),
  isBelow: binary([0x49]), // unsigned: addresses pass 2^31
};

export const f64 = { add: binary([0xa0]) };

export const v128 = {
  /** Reads 16 bytes at `address + offset`, which must be a multiple of 16 to be fast. */
  load: (address: Code, offset = 0): Code => [...address, ...simd(0x00), ...memoryArgument(4, offset)],
  /** Reads 8 bytes into the low half; the high half is 0. */
  load64Zero: (address: Code, offset = 0): Code => [...address, ...simd(0x5d), ...memoryArgument(3, offset)],
  store: (address: Code, value: Code, offset = 0): Code => [
    ...address,
    ...value,
    ...simd(0x0b),
    ...memoryArgument(4, offset),
  ],
};

export const f32x4 = {
  splat: unary(simd(0x13)),
  sqrt: unary(simd(0xe3)),
  add: binary(simd(0xe4)),
  sub: binary(simd(0xe5)),
  mul: binary(simd(0xe6)),
  div: binary(simd(0xe7)),
};

export const f64x2 = {
  add: binary(simd(0xf0)),
  mul: binary(simd(0xf2)),
  /** The two low float32 lanes, widened. */
  promoteLow: unary(simd(0x5f)),
  lane: (value: Code, lane: 0 | 1): Code => [...value, ...simd(0x21), lane],
};

function unary(opcode: Code): (value: Code) => Code {
  return (value) => [...value, ...opcode];
}

function binary(opcode: Code): (left: Code, right: Code) => Code {
  return (left, right) => [...left, ...right, ...opcode];
}

function simd(opcode: number): Code {
  return [0xfd, ...unsigned(opcode)];
}

function memoryArgument(alignmentLog2: number, offset: number): Code {
  return [...unsigned(alignmentLog2), ...unsigned(offset)];
}

function section(id: number, content: Code): Code {
  return [id, ...unsigned(content.length), ...content];
}

function vector(items: readonly Code[]): Code {
  return [...unsigned(items.length), ...items.flat()];
}

function text(value: string): Code {
  const bytes = new TextEncoder().encode(value);
  return [...unsigned(bytes.length), ...bytes];
}

/** LEB128 of a non-negative integer below 2^32. */
function unsigned(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** Signed LEB128 of a 32-bit integer. */
function signed(value: number): Code {
  const low = value & 0x7f;
  const rest = value >> 7;
  const isLast = (rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0);
  return isLast ? [low] : [low | 0x80, ...signed(rest)];
}
