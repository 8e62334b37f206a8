import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { Random, UserError } from "../base/index.js";
import { openGguf } from "./gguf.js";
import { GGUF_DECODERS } from "./gguf-decoders.js";
import type { GgufTensorTypeName, GgufValue } from "./gguf-types.js";
import { type WritableGgufType, writeGguf } from "./gguf-writer.js";
import { float16FromFloat32 } from "./half.js";

const folder = mkdtempSync(join(tmpdir(), "hone-gguf-"));
const path = join(folder, "x.gguf");
afterAll(() => rmSync(folder, { recursive: true }));

interface Golden {
  readonly decoded: Record<GgufTensorTypeName, { blocks: string; values: string }>;
  readonly source: string;
  readonly encoded: Record<WritableGgufType, string>;
}
// The fixture's shape is that of tools/golden/gguf_blocks.py, which wrote it.
const golden = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../tests/golden/gguf.json"), "utf8"),
) as Golden;

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Uint8Array.from(Buffer.from(hex, "hex")).buffer);
const floatsOf = (hex: string): Float32Array => new Float32Array(bytesOf(hex).buffer);

function decode(type: GgufTensorTypeName, bytes: Uint8Array): Float32Array {
  const { blockElements, blockBytes, decodeInto } = GGUF_DECODERS[type]!;
  const target = new Float32Array((bytes.length / blockBytes) * blockElements);
  decodeInto(target, bytes);
  return target;
}

function halfBytes(value: number): number[] {
  const half = float16FromFloat32(value);
  return [half & 255, half >> 8];
}

it.each(Object.keys(golden.decoded) as GgufTensorTypeName[])(
  "%s blocks decode to the gguf package's numbers",
  (type) => {
    const { blocks, values } = golden.decoded[type];
    expect([...decode(type, bytesOf(blocks))]).toEqual([...floatsOf(values)]);
  },
);

it("Q4_0 by hand: d = 0.5; byte 0x3a is element 0 = 0.5 (10 - 8) = 1 and element 16 = 0.5 (3 - 8) = -2.5", () => {
  const values = decode("Q4_0", Uint8Array.of(...halfBytes(0.5), 0x3a, 0x0f, ...Array(14).fill(0x88)));
  expect([values[0], values[16], values[1], values[17], values[2]]).toEqual([1, -2.5, 3.5, -4, 0]);
});

it("Q8_0 by hand: d = 0.25; bytes 0x80 and 0x7f are -32 and 31.75", () => {
  const values = decode("Q8_0", Uint8Array.of(...halfBytes(0.25), 0x80, 0x7f, ...Array(30).fill(0)));
  expect([values[0], values[1], values[2]]).toEqual([-32, 31.75, 0]);
});

it("Q4_K by hand: sub-block 0 is d s q - m t, and sub-block 4 takes the top bits of s and t from elsewhere", () => {
  const block = new Uint8Array(144);
  block.set([...halfBytes(0.5), ...halfBytes(0.25)]);
  block[4] = 0b10_000011; // s0 = 3, top bits of s4 = 2
  block[8] = 0b01_000010; // t0 = 2, top bits of t4 = 1
  block[12] = 0x53; // s4 = 3 + 2 · 16 = 35, t4 = 5 + 1 · 16 = 21
  block[16] = 0x07; // element 0: q = 7
  block[16 + 64] = 0x09; // element 128, the first of sub-block 4: q = 9
  const values = decode("Q4_K", block);
  expect(values[0]).toBe(0.5 * 3 * 7 - 0.25 * 2);
  expect(values[128]).toBe(0.5 * 35 * 9 - 0.25 * 21);
});

it("Q6_K by hand: element 96 takes the high half of byte 32 and bits 6, 7 of upper byte 0", () => {
  const block = new Uint8Array(210);
  block.set(halfBytes(0.5), 208);
  block[32] = 0xb0; // element 96: low four bits 11
  block[128] = 0b11_00_00_00; // upper two bits 3
  block[192 + 6] = 0xfe; // scale of elements 96..111: -2
  expect(decode("Q6_K", block)[96]).toBe(0.5 * -2 * (11 + 48 - 32));
});

const METADATA: Record<string, GgufValue> = {
  "general.architecture": { type: "string", value: "llama" },
  "a.uint8": { type: "uint8", value: 200 },
  "a.int8": { type: "int8", value: -100 },
  "a.uint16": { type: "uint16", value: 60000 },
  "a.int16": { type: "int16", value: -30000 },
  "a.uint32": { type: "uint32", value: 4e9 },
  "a.int32": { type: "int32", value: -2e9 },
  "a.float32": { type: "float32", value: 0.5 },
  "a.bool": { type: "bool", value: true },
  "a.uint64": { type: "uint64", value: 2n ** 64n - 1n },
  "a.int64": { type: "int64", value: -(2n ** 63n) },
  "a.float64": { type: "float64", value: 0.1 },
  "a.strings": { type: "array", of: "string", value: ["", "Ġhello", "世界"] },
  "a.floats": { type: "array", of: "float32", value: Float32Array.of(1, -2) },
  "a.bools": { type: "array", of: "bool", value: Uint8Array.of(1, 0) },
  "a.nested": {
    type: "array",
    of: "array",
    value: [{ type: "array", of: "int32", value: Int32Array.of(1, -1) }],
  },
};

it("openGguf() reads back every metadata type and shape that writeGguf() wrote", () => {
  const w = Float32Array.from({ length: 6 }, (_, i) => i / 8);
  const tensors = (["F32", "F16"] as const).map((type) => {
    return { name: type, type, shape: [3, 2], read: () => w };
  });
  writeGguf(path, tensors, METADATA);
  const file = openGguf(path);
  expect(file.version).toBe(3);
  expect(Object.fromEntries(file.metadata)).toEqual(METADATA);
  expect(file.tensors.get("F16")).toMatchObject({ type: "F16", shape: [3, 2], bytes: 12 });
  expect(file.tensors.get("F16")!.offset % 32).toBe(0);
  for (const name of ["F32", "F16"]) {
    const target = new Float32Array(4);
    file.readInto(name, target, { rowOffset: 1 });
    expect([...target]).toEqual([...w.subarray(2)]);
  }
  file.close();
});

it.each(["F16", "Q8_0", "Q4_0"] as const)("writeGguf() encodes %s to the gguf package's bytes", (type) => {
  const source = floatsOf(golden.source);
  writeGguf(path, [{ name: "w", type, shape: [1, 128], read: () => source }], {});
  const file = openGguf(path);
  expect(Buffer.from(file.readRaw("w")).toString("hex")).toBe(golden.encoded[type]);
  file.close();
});

it("openGguf() decodes rows of quantised tensors from where they begin", () => {
  const random = new Random(5);
  const w = Float32Array.from({ length: 4 * 64 }, () => random.normal());
  writeGguf(path, [{ name: "w", type: "Q8_0", shape: [4, 64], read: () => w }], {});
  const file = openGguf(path);
  const whole = new Float32Array(256);
  file.readInto("w", whole);
  // d = max / 127 per block of 32, stored as float16: half a step, and 2^-11 of the value.
  expect(w.every((value, i) => Math.abs(value - whole[i]!) <= 4 / 254 + 4 * 2 ** -11)).toBe(true);
  const row = new Float32Array(64);
  file.readInto("w", row, { rowOffset: 2 });
  expect([...row]).toEqual([...whole.subarray(128, 192)]);
  file.close();
});

it("readInto() with rejectNonFinite finds a scale that is not a number, and names the tensor and element", () => {
  const w = new Float32Array(96).fill(1);
  writeGguf(path, [{ name: "w", type: "Q4_0", shape: [3, 32], read: () => w }], {});
  const { offset } = openGguf(path).tensors.get("w")!;
  const bytes = readFileSync(path);
  bytes.writeUInt16LE(0x7e00, offset + 18);
  writeFileSync(path, bytes);
  const file = openGguf(path);
  expect(() => file.readInto("w", new Float32Array(96), { rejectNonFinite: true })).toThrow(
    `Cannot use tensor "w" of "${path}": element [1, 0] (byte ${offset + 18}) is NaN, expected finite numbers`,
  );
  file.close();
});

/** A file put together by hand, for the defects that writeGguf() cannot write. */
class Bytes {
  readonly parts: Buffer[] = [];
  u32(value: number): this {
    const part = Buffer.alloc(4);
    part.writeUInt32LE(value);
    this.parts.push(part);
    return this;
  }
  u64(value: bigint): this {
    const part = Buffer.alloc(8);
    part.writeBigUInt64LE(value);
    this.parts.push(part);
    return this;
  }
  text(value: string): this {
    this.u64(BigInt(Buffer.byteLength(value)));
    this.parts.push(Buffer.from(value));
    return this;
  }
  header(tensors: bigint, pairs: bigint, version = 3): this {
    return this.u32(0x46554747).u32(version).u64(tensors).u64(pairs);
  }
  tensor(name: string, sizes: readonly bigint[], type: number, offset: bigint): this {
    this.text(name).u32(sizes.length);
    for (const size of sizes) this.u64(size);
    return this.u32(type).u64(offset);
  }
  /** Pads to a multiple of 32 and adds the tensor bytes. */
  data(count: number): this {
    const length = Buffer.concat(this.parts).length;
    this.parts.push(Buffer.alloc(((32 - (length % 32)) % 32) + count));
    return this;
  }
}

it.each<[string, Bytes, string]>([
  [
    "another kind of file",
    new Bytes().u32(0x04034b50).data(64),
    'byte 0 has magic 0x4034b50, expected "GGUF"',
  ],
  ["version 1", new Bytes().header(0n, 0n, 1), "byte 4 has version 1, expected little-endian version 2 or 3"],
  ["a big-endian file", new Bytes().header(0n, 0n, 0x03000000), "byte 4 has a big-endian file"],
  [
    "a short file",
    new Bytes().u32(0x46554747).u32(3),
    "byte 8 has the last 0 bytes of the file, expected a 64-bit number. The file is truncated",
  ],
  [
    "a lying tensor count",
    new Bytes().header(2n ** 63n, 0n),
    "byte 8 has a count of 9223372036854775808 tensors, expected at most 0, which fit in the 8 bytes left of 24",
  ],
  [
    "a lying pair count",
    new Bytes().header(0n, 9n),
    "byte 16 has a count of 9 metadata pairs, expected at most 0",
  ],
  [
    "a lying string length",
    new Bytes()
      .header(0n, 1n)
      .u64(2n ** 40n)
      .data(64),
    "byte 24 has a count of 1099511627776 characters",
  ],
  [
    "an unknown metadata type",
    new Bytes().header(0n, 1n).text("k").u32(13).data(8),
    "byte 33 has metadata type 13, expected a number from 0 to 12",
  ],
  [
    "a lying array",
    new Bytes()
      .header(0n, 1n)
      .text("k")
      .u32(9)
      .u32(12)
      .u64(2n ** 61n),
    "byte 41 has a count of 2305843009213693952 numbers of type float64, expected at most 0",
  ],
  [
    "a key twice",
    new Bytes().header(0n, 2n).text("k").u32(4).u32(1).text("k").u32(4).u32(1),
    'byte 41 has a second metadata key "k", expected each key once',
  ],
  [
    "five axes",
    new Bytes().header(1n, 0n).tensor("w", [1n, 1n, 1n, 1n, 1n], 0, 0n).data(4),
    'byte 33 has 5 axes of tensor "w", expected at most 4',
  ],
  [
    "an unknown tensor type",
    new Bytes().header(1n, 0n).tensor("w", [4n], 77, 0n).data(16),
    'byte 45 has type 77 of tensor "w", expected a tensor type of ggml',
  ],
  [
    "a row that cuts a block",
    new Bytes().header(1n, 0n).tensor("w", [33n], 2, 0n).data(64),
    'has rows of 33 elements in tensor "w", expected a multiple of 32, the block of Q4_0',
  ],
  [
    "a product that overflows",
    new Bytes()
      .header(1n, 0n)
      .tensor("w", [2n ** 33n, 2n ** 31n], 0, 0n)
      .data(64),
    'has shape [2147483648, 8589934592] of tensor "w", expected a size in the file',
  ],
  [
    "an unaligned offset",
    new Bytes().header(1n, 0n).tensor("w", [4n], 0, 8n).data(64),
    'has offset 8 of tensor "w", expected a multiple of 32',
  ],
  [
    "a tensor past the end",
    new Bytes().header(1n, 0n).tensor("w", [9n], 0, 32n).data(64),
    'has offset 32 of tensor "w" with 36 bytes (F32, shape [9]), expected an end within the 64 bytes from byte 64',
  ],
  [
    "overlapping tensors",
    new Bytes().header(2n, 0n).tensor("a", [16n], 0, 0n).tensor("b", [4n], 0, 32n).data(64),
    'tensor "b" begins at byte 128, expected at least byte 160, where tensor "a" ends (they overlap)',
  ],
  [
    "an odd alignment",
    new Bytes().header(0n, 1n).text("general.alignment").u32(4).u32(24).data(8),
    "general.alignment is uint32 24, expected a uint32 power of two of at least 8",
  ],
])("openGguf() refuses %s and says where", (_, bytes, expected) => {
  writeFileSync(path, Buffer.concat(bytes.parts));
  expect(() => openGguf(path)).toThrow(UserError);
  expect(() => openGguf(path)).toThrow(`Cannot read GGUF file "${path}": `);
  expect(() => openGguf(path)).toThrow(expected);
});

it("openGguf() reads version 2, which has the same layout", () => {
  writeFileSync(path, Buffer.concat(new Bytes().header(1n, 0n, 2).tensor("w", [2n], 0, 0n).data(8).parts));
  const file = openGguf(path);
  expect([file.version, file.tensors.get("w")!.shape]).toEqual([2, [2]]);
  file.close();
});

it("readInto() says that a type cannot be decoded, after checking its bounds like any other", () => {
  writeFileSync(path, Buffer.concat(new Bytes().header(1n, 0n).tensor("w", [256n], 10, 0n).data(84).parts));
  const file = openGguf(path);
  expect(() => file.readInto("w", new Float32Array(256))).toThrow(
    `Cannot read tensor "w" of "${path}" as float32: its type is Q2_K, expected one of F32, F16, BF16, F64, Q8_0, Q4_0`,
  );
  file.close();
});
