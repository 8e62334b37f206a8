/** The few ONNX messages we write, as protobuf bytes. Field numbers are those of onnx.proto3. */
import type { DType } from "../../tensor/index.js";
import { isSymbolic, type Shape } from "../dim.js";
import type { OnnxAttributes, OnnxSubgraph } from "../graph.js";

/** TensorProto.DataType of the ONNX standard. */
export const ONNX_TYPE: Readonly<Record<DType, number>> = {
  float32: 1,
  uint8: 2,
  uint16: 4,
  int32: 6,
  int64: 7,
  bool: 9,
};

export interface OnnxNode {
  readonly opType: string;
  readonly domain: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: OnnxAttributes;
}

export interface OnnxTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: readonly number[];
}

/** A shape of null leaves the rank open. */
export interface OnnxValueInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: Shape | null;
}

export interface OnnxGraph {
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly OnnxTensor[];
  readonly inputs: readonly OnnxValueInfo[];
  readonly outputs: readonly OnnxValueInfo[];
  readonly values: readonly OnnxValueInfo[];
}

const OPSET = 21;
const IR_VERSION = 10;

export function encodeModel(graph: OnnxGraph): Uint8Array {
  const domains = new Set(["", ...graph.nodes.map(({ domain }) => domain), "com.microsoft"]);
  return message(
    integer(1, IR_VERSION),
    text(2, "hone"),
    bytes(7, encodeGraph(graph)),
    ...[...domains].map((domain) =>
      bytes(8, message(text(1, domain), integer(2, domain === "" ? OPSET : 1))),
    ),
  );
}

export function encodeGraph({ nodes, initializers, inputs, outputs, values }: OnnxGraph): Uint8Array {
  return message(
    ...nodes.map((node) => bytes(1, encodeNode(node))),
    text(2, "graph"),
    ...initializers.map((tensor) => bytes(5, encodeTensor(tensor))),
    ...inputs.map((value) => bytes(11, encodeValueInfo(value))),
    ...outputs.map((value) => bytes(12, encodeValueInfo(value))),
    ...values.map((value) => bytes(13, encodeValueInfo(value))),
  );
}

function encodeNode({ opType, domain, inputs, outputs, attributes }: OnnxNode): Uint8Array {
  return message(
    ...inputs.map((name) => text(1, name)),
    ...outputs.map((name) => text(2, name)),
    text(4, opType),
    ...Object.entries(attributes).map(([name, value]) => bytes(5, encodeAttribute(name, value))),
    text(7, domain),
  );
}

function encodeAttribute(name: string, value: OnnxAttributes[string]): Uint8Array {
  if (typeof value === "number") return message(text(1, name), integer(3, value), integer(20, 2));
  if (typeof value === "string") return message(text(1, name), text(4, value), integer(20, 3));
  if (Array.isArray(value))
    return message(text(1, name), ...value.map((item: number) => integer(8, item)), integer(20, 7));
  if ("float" in value) return message(text(1, name), float(2, value.float), integer(20, 1));
  return message(text(1, name), bytes(6, (value as OnnxSubgraph).subgraph), integer(20, 5)); // the only form left
}

function encodeTensor({ name, dtype, shape, data }: OnnxTensor): Uint8Array {
  return message(
    ...shape.map((size) => integer(1, size)),
    integer(2, ONNX_TYPE[dtype]),
    text(8, name),
    bytes(9, rawData(dtype, data)),
  );
}

function rawData(dtype: DType, data: readonly number[]): Uint8Array {
  const array = {
    float32: () => Float32Array.from(data),
    int64: () => BigInt64Array.from(data, BigInt),
    int32: () => Int32Array.from(data),
    bool: () => Uint8Array.from(data),
    uint8: () => Uint8Array.from(data),
    uint16: () => Uint16Array.from(data),
  }[dtype]();
  return new Uint8Array(array.buffer);
}

function encodeValueInfo({ name, dtype, shape }: OnnxValueInfo): Uint8Array {
  const dims = shape?.map((dim) => bytes(1, isSymbolic(dim) ? text(2, dim) : integer(1, dim)));
  const tensorType = message(
    integer(1, ONNX_TYPE[dtype]),
    ...(dims === undefined ? [] : [bytes(2, message(...dims))]),
  );
  return message(text(1, name), bytes(2, bytes(1, tensorType)));
}

function message(...fields: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat(fields);
}

function varint(value: number): number[] {
  const result: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    result.push(rest === 0n ? low : low | 0x80);
  } while (rest !== 0n);
  return result;
}

function integer(field: number, value: number): Uint8Array {
  return Uint8Array.from([...varint(field << 3), ...varint(value)]);
}

function float(field: number, value: number): Uint8Array {
  const result = new Uint8Array([...varint((field << 3) | 5), 0, 0, 0, 0]);
  new DataView(result.buffer).setFloat32(result.length - 4, value, true);
  return result;
}

function bytes(field: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.from([...varint((field << 3) | 2), ...varint(content.length)]), content]);
}

function text(field: number, content: string): Uint8Array {
  return bytes(field, Buffer.from(content));
}
