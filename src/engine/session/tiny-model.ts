/**
 * ONNX models of a few nodes, written by hand: for the self-test of a runtime and for the tests of this folder.
 * Real graphs are written by graph/onnx.
 */

import { ONNX_TYPE } from "../../graph/index.js";
import type { DType } from "../../tensor/index.js";

export interface TinyNode {
  readonly opType: string;
  readonly domain?: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Integers become `int` attributes, written "1.0" they become `float`. */
  readonly attributes?: Readonly<Record<string, number | { readonly float: number }>>;
}

export interface TinyValue {
  readonly name: string;
  readonly dtype: DType;
  /** A string is a dimension of any size. */
  readonly shape: readonly (number | string)[];
}

export interface TinyModel {
  readonly nodes: readonly TinyNode[];
  readonly inputs: readonly TinyValue[];
  readonly outputs: readonly TinyValue[];
}

/** The bytes of a `ModelProto` (onnx.proto, IR version 8, opset 17 and version 1 of the domain "hone"). */
export function tinyModel({ nodes, inputs, outputs }: TinyModel): Uint8Array {
  const graph = message(
    ...nodes.map((node) => field(1, nodeProto(node))),
    field(2, "tiny"),
    ...inputs.map((value) => field(11, valueInfo(value))),
    ...outputs.map((value) => field(12, valueInfo(value))),
  );
  return Uint8Array.from(
    message(
      field(1, 8),
      field(7, graph),
      field(8, message(field(1, ""), field(2, 17))),
      field(8, message(field(1, "com.microsoft"), field(2, 1))),
      field(8, message(field(1, "hone"), field(2, 1))),
    ),
  );
}

function nodeProto({ opType, domain, inputs, outputs, attributes = {} }: TinyNode): number[] {
  return message(
    ...inputs.map((name) => field(1, name)),
    ...outputs.map((name) => field(2, name)),
    field(4, opType),
    ...Object.entries(attributes).map(([name, value]) =>
      typeof value === "number"
        ? field(5, message(field(1, name), field(3, value), field(20, 2)))
        : field(5, message(field(1, name), floatField(2, value.float), field(20, 1))),
    ),
    ...(domain === undefined ? [] : [field(7, domain)]),
  );
}

function valueInfo({ name, dtype, shape }: TinyValue): number[] {
  const dimensions = shape.map((size) =>
    field(1, typeof size === "number" ? message(field(1, size)) : message(field(2, size))),
  );
  const tensor = message(field(1, ONNX_TYPE[dtype]), field(2, message(...dimensions)));
  return message(field(1, name), field(2, message(field(1, tensor))));
}

/** Field `number` holding a varint, a string or a nested message. */
function field(number: number, value: number | string | readonly number[]): number[] {
  if (typeof value === "number") return [...varint(number << 3), ...varint(value)];
  const bytes = typeof value === "string" ? [...Buffer.from(value, "utf8")] : value;
  return [...varint((number << 3) | 2), ...varint(bytes.length), ...bytes];
}

function floatField(number: number, value: number): number[] {
  return [...varint((number << 3) | 5), ...new Uint8Array(Float32Array.of(value).buffer)];
}

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = BigInt.asUintN(64, BigInt(value)); ; rest >>= 7n) {
    if (rest < 128n) return [...bytes, Number(rest)];
    bytes.push(Number(rest & 127n) | 128);
  }
}

function message(...fields: readonly (readonly number[])[]): number[] {
  return fields.flat();
}
