import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeEach, expect, it } from "vitest";
import { UserError } from "../base/index.js";
import { openSafetensors } from "./safetensors.js";
import { type TensorToWrite, writeSafetensors, writeShardedSafetensors } from "./safetensors-writer.js";
import { CHUNK_BYTES } from "./tensor-file.js";

const root = mkdtempSync(join(tmpdir(), "hone-safetensors-"));
afterAll(() => rmSync(root, { recursive: true }));
let folder = "";
let path = "";
beforeEach(() => {
  folder = mkdtempSync(join(root, "case-"));
  path = join(folder, "x.safetensors");
});

/** A file of this header text and so many data bytes; `lie` replaces the header's length. */
function fileOf(header: string | object, dataBytes = 0, lie?: bigint): string {
  const text = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(lie ?? BigInt(text.length));
  writeFileSync(path, Buffer.concat([length, text, Buffer.alloc(dataBytes)]));
  return path;
}

function messageFrom(run: () => unknown): string {
  try {
    run();
  } catch (thrown) {
    expect(thrown).toBeInstanceOf(UserError);
    return (thrown as UserError).message.replaceAll(folder, "DIR");
  }
  throw new Error("nothing was thrown");
}

function readFloats(file: string, name: string): number[] {
  const opened = openSafetensors(file);
  const target = new Float32Array(opened.tensors.get(name)!.shape.reduce((a, b) => a * b, 1));
  opened.readInto(name, target);
  opened.close();
  return [...target];
}

const python = join(import.meta.dirname, "../../tests/golden/python.safetensors");
const ramp = (count: number): number[] => Array.from({ length: count }, (_, i) => (i - 3) * 0.37);

it("openSafetensors() reads what the Python library wrote, every dtype", () => {
  const file = openSafetensors(python);
  expect(file.metadata).toEqual(new Map([["format", "pt"]]));
  expect(file.tensors.get("b.float32")).toMatchObject({ dtype: "F32", shape: [2, 3], bytes: 24 });
  expect(file.tensors.get("j.scalar")!.shape).toEqual([]);
  expect(readFloats(python, "b.float32")).toEqual(ramp(6).map(Math.fround));
  expect(readFloats(python, "c.float64")).toEqual(ramp(3).map(Math.fround));
  // -1.11, -0.74, -0.37, 0 rounded to 11 and to 8 bits of mantissa.
  expect(readFloats(python, "a.float16")).toEqual([-1137 / 1024, -1516 / 2048, -1516 / 4096, 0]);
  expect(readFloats(python, "a.bfloat16")).toEqual([-142 / 128, -189 / 256, -189 / 512, 0]);
  expect(readFloats(python, "j.scalar")).toEqual([1.5]);
  expect(readFloats(python, "k.empty")).toEqual([]);
  expect([...new BigInt64Array(file.readRaw("d.int64").buffer)]).toEqual([-(2n ** 40n), 7n]);
  expect([...new Int32Array(file.readRaw("e.int32").buffer)]).toEqual([-5, 6]);
  expect([...file.readRaw("i.bool")]).toEqual([1, 0, 1]);
  expect(messageFrom(() => file.readInto("e.int32", new Float32Array(2))).replace(python, "F")).toBe(
    'Cannot read tensor "e.int32" of "F" as float32: its dtype is I32, expected F32, BF16, F16, F64',
  );
  file.close();
});

it("writeSafetensors() gives the Python library's file byte for byte", () => {
  const floats = (count: number): Float32Array => Float32Array.from(ramp(count));
  const tensors: TensorToWrite[] = [
    { name: "k.empty", dtype: "F32", shape: [0, 3], read: () => new Float32Array(0) },
    { name: "ö.float32", dtype: "F32", shape: [1], read: () => floats(1) },
    { name: "b.float32", dtype: "F32", shape: [2, 3], read: () => floats(6) },
    { name: "a.float16", dtype: "F16", shape: [4], read: () => floats(4) },
    { name: "a.bfloat16", dtype: "BF16", shape: [2, 2], read: () => floats(4) },
    { name: "c.float64", dtype: "F64", shape: [3], read: () => Float64Array.from(ramp(3)) },
    { name: "d.int64", dtype: "I64", shape: [2], read: () => BigInt64Array.of(-(2n ** 40n), 7n) },
    { name: "e.int32", dtype: "I32", shape: [2], read: () => Int32Array.of(-5, 6) },
    { name: "f.int16", dtype: "I16", shape: [1], read: () => Int16Array.of(-300) },
    { name: "g.int8", dtype: "I8", shape: [3], read: () => Int8Array.of(-1, 2, 3) },
    { name: "h.uint8", dtype: "U8", shape: [2], read: () => Uint8Array.of(200, 1) },
    { name: "i.bool", dtype: "BOOL", shape: [3], read: () => Uint8Array.of(1, 0, 1) },
    { name: "j.scalar", dtype: "F32", shape: [], read: () => Float32Array.of(1.5) },
  ];
  writeSafetensors(path, tensors, { format: "pt" });
  expect(readFileSync(path).equals(readFileSync(python))).toBe(true);
  expect(readdirSync(folder)).toEqual(["x.safetensors"]);
});

it("writeSafetensors() leaves the old file whole when a tensor cannot be produced", () => {
  const tensor = { name: "w", dtype: "F32", shape: [2] } as const;
  writeSafetensors(path, [{ ...tensor, read: () => Float32Array.of(1, 2) }]);
  const failing = {
    ...tensor,
    read: (): Float32Array => {
      throw new Error("gone");
    },
  };
  expect(() => writeSafetensors(path, [failing])).toThrow("gone");
  expect(() => writeSafetensors(path, [{ ...tensor, read: () => new Float32Array(3) }])).toThrow(
    "3 elements of 4 bytes, expected 2 of F32 for shape [2]",
  );
  expect(readFloats(path, "w")).toEqual([1, 2]);
  expect(readdirSync(folder)).toEqual(["x.safetensors"]);
});

it("readInto() converts tensors larger than a chunk, and reads the rows it is asked for", () => {
  const [rows, columns] = [3, CHUNK_BYTES / 4 + 1];
  const data = Float32Array.from({ length: rows * columns }, (_, i) => (i % 251) - 125);
  writeSafetensors(path, [
    { name: "half", dtype: "BF16", shape: [rows, columns], read: () => data },
    { name: "full", dtype: "F32", shape: [rows, columns], read: () => data },
  ]);
  const file = openSafetensors(path);
  for (const name of ["half", "full"]) {
    const whole = new Float32Array(rows * columns);
    file.readInto(name, whole);
    expect(Buffer.compare(Buffer.from(whole.buffer), Buffer.from(data.buffer))).toBe(0);
    const two = new Float32Array(2 * columns + 1).subarray(1);
    file.readInto(name, two, { rowOffset: 1 });
    expect(two.every((value, i) => value === data[columns + i])).toBe(true);
  }
  expect(() => file.readInto("full", new Float32Array(2 * columns), { rowOffset: 2 })).toThrow(
    "expected whole rows of",
  );
  expect(() => file.readInto("full", new Float32Array(columns))).toThrow("expected 6291459");
  file.close();
});

it.each(["F32", "F16", "BF16", "F64"] as const)(
  "readInto() with rejectNonFinite names the first NaN or infinity of a %s tensor",
  (dtype) => {
    const data = Float32Array.of(0, 1, 2, 3, Number.NEGATIVE_INFINITY, Number.NaN);
    writeSafetensors(path, [{ name: "w", dtype, shape: [3, 2], read: () => data }]);
    const file = openSafetensors(path);
    const byte = file.tensors.get("w")!.offset + 4 * { F32: 4, F16: 2, BF16: 2, F64: 8 }[dtype];
    expect(messageFrom(() => file.readInto("w", new Float32Array(6), { rejectNonFinite: true }))).toBe(
      `Cannot use tensor "w" of "DIR/x.safetensors": element [2, 0] (byte ${byte}) is -Infinity, expected finite numbers`,
    );
    const row = new Float32Array(2);
    expect(() => file.readInto("w", row, { rowOffset: 1, rejectNonFinite: true })).not.toThrow();
    expect(() => file.readInto("w", row, { rowOffset: 2, rejectNonFinite: true })).toThrow("element [2, 0]");
    file.close();
  },
);

const ok = (begin: number, end: number): object => ({
  dtype: "U8",
  shape: [end - begin],
  data_offsets: [begin, end],
});

it.each<[string, string | object, number, string]>([
  ["no JSON", '{"a" 1}', 0, 'header byte 13 has "1", expected ":"'],
  ["an unclosed object", '{"a":{}', 0, 'header byte 15 has the end, expected "," or "}"'],
  ["text after the object", "{} x", 0, 'header byte 11 has "x", expected the end of the JSON text'],
  ["another JSON value", "[1]", 0, "header byte 8 has another JSON value, expected an object of tensors"],
  ["a tensor twice", '{"é":1,"é":2}', 0, 'header byte 16 has a second key "é", expected each key once'],
  ["deep nesting", `{"a":${"[".repeat(40)}`, 0, "has nesting deeper than 32, expected a flat header"],
  [
    "an unknown dtype",
    { w: { ...ok(0, 4), dtype: "F4" } },
    4,
    'of tensor "w" has dtype "F4", expected one of U64',
  ],
  ["no dtype", { w: { shape: [1] } }, 0, 'of tensor "w" has no dtype, expected a dtype'],
  [
    "a negative size",
    { w: { ...ok(0, 4), shape: [-4] } },
    4,
    'of tensor "w" has shape [-4], expected a list of at most 16 natural numbers',
  ],
  ["a fractional size", { w: { ...ok(0, 4), shape: [1.5] } }, 4, "has shape [1.5], expected a list"],
  [
    "a size past 2^53",
    '{"w":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,1]}}',
    1,
    "expected a list of at most 16 natural",
  ],
  [
    "offsets backwards",
    { w: { ...ok(0, 4), data_offsets: [4, 0] } },
    4,
    "has data_offsets [4,0], expected [begin, end] with begin <= end",
  ],
  [
    "offsets past the end",
    { w: ok(0, 5) },
    4,
    "has data_offsets [0, 5], expected an end within the 4 bytes of data in this file of 65 bytes",
  ],
  [
    "too few bytes for the shape",
    { w: { dtype: "F32", shape: [2, 3], data_offsets: [0, 20] } },
    20,
    "has data_offsets of 20 bytes, expected 24, what F32 of shape [2, 3] takes",
  ],
  [
    "a product that overflows",
    { w: { dtype: "F32", shape: [2 ** 31, 2 ** 31, 2 ** 31], data_offsets: [0, 0] } },
    0,
    "expected 39614081257132168796771975168, what F32",
  ],
  [
    "an unknown key",
    { w: { ...ok(0, 4), extra: 1 } },
    4,
    'has the key "extra", expected dtype, shape and data_offsets only',
  ],
  ["a tensor that is a number", { w: 3 }, 0, 'of tensor "w" has a value that is no object'],
  [
    "metadata of numbers",
    { __metadata__: { step: 3 } },
    0,
    'has metadata "step" that is no string, expected a string',
  ],
  [
    "metadata that is a list",
    { __metadata__: [] },
    0,
    "has __metadata__ that is no object, expected an object of strings",
  ],
])("openSafetensors() refuses %s and says where", (_, header, dataBytes, expected) => {
  const message = messageFrom(() => openSafetensors(fileOf(header, dataBytes)));
  expect(message).toMatch(/^Cannot read safetensors file "DIR\/x\.safetensors": header byte \d+/);
  expect(message).toContain(expected);
});

it.each<[string, object, number, string]>([
  [
    "overlap",
    { a: ok(0, 4), b: ok(3, 6) },
    6,
    'tensor "b" begins at byte 116, expected byte 117, where tensor "a" ends (they overlap)',
  ],
  [
    "leave a hole",
    { a: ok(0, 4), b: ok(5, 6) },
    6,
    'tensor "b" begins at byte 118, expected byte 117, where tensor "a" ends (a hole lies between)',
  ],
  [
    "end before the file does",
    { a: ok(0, 4) },
    6,
    'tensor "a" ends at byte 65, expected byte 67, the end of the file',
  ],
])("openSafetensors() refuses tensors that %s", (_, header, dataBytes, expected) => {
  expect(messageFrom(() => openSafetensors(fileOf(header, dataBytes)))).toBe(
    `Cannot read safetensors file "DIR/x.safetensors": ${expected}`,
  );
});

it("openSafetensors() compares the header's length with the file before it allocates", () => {
  expect(messageFrom(() => openSafetensors(fileOf("{}", 0, 2n ** 63n)))).toBe(
    'Cannot read safetensors file "DIR/x.safetensors": byte 0 gives a header of 9223372036854775808 bytes, expected at most 2, what follows in this file of 10 bytes. It is truncated or not a safetensors file',
  );
  writeFileSync(path, "short");
  expect(messageFrom(() => openSafetensors(path))).toBe(
    'Cannot read safetensors file "DIR/x.safetensors": it has 5 bytes, expected at least 8, the header\'s length',
  );
  writeFileSync(path, Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe));
  expect(messageFrom(() => openSafetensors(path))).toContain("the 2 header bytes from byte 8 are not UTF-8");
});

it("openSafetensors() says what is wrong with a path", () => {
  expect(messageFrom(() => openSafetensors(path))).toBe(
    'Cannot open safetensors file "DIR/x.safetensors": no such file, expected a readable file',
  );
  expect(messageFrom(() => openSafetensors(folder))).toBe(
    'Cannot open weights in folder "DIR": it has neither model.safetensors nor model.safetensors.index.json, expected one of them',
  );
});

it("openSafetensors() notices a file that was cut after it was opened", () => {
  writeSafetensors(path, [{ name: "w", dtype: "F32", shape: [4], read: () => new Float32Array(4) }]);
  const file = openSafetensors(path);
  const { offset } = file.tensors.get("w")!;
  writeFileSync(path, readFileSync(path).subarray(0, -4));
  expect(messageFrom(() => file.readInto("w", new Float32Array(4)))).toBe(
    `Cannot read safetensors file "DIR/x.safetensors": it ends at byte ${offset + 12}, expected ${offset + 16} bytes. It was cut while being read`,
  );
  file.close();
});

function writeThree(maxShardBytes?: number): string[] {
  const tensors = ["c", "a", "b"].map((name, i): TensorToWrite => {
    return { name, dtype: "F32", shape: [2, 2], read: () => Float32Array.of(i, i, i, i + 0.5) };
  });
  return writeShardedSafetensors(folder, tensors, maxShardBytes === undefined ? {} : { maxShardBytes });
}

it("writeShardedSafetensors() splits above the limit, and the folder reads as one model either way", () => {
  expect(writeThree(32)).toEqual([
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "model.safetensors.index.json",
  ]);
  expect(JSON.parse(readFileSync(join(folder, "model.safetensors.index.json"), "utf8"))).toEqual({
    metadata: { total_size: 48 },
    weight_map: {
      a: "model-00001-of-00002.safetensors",
      b: "model-00002-of-00002.safetensors",
      c: "model-00001-of-00002.safetensors",
    },
  });
  expect(readFloats(folder, "b")).toEqual([2, 2, 2, 2.5]);
  expect(readFloats(join(folder, "model.safetensors.index.json"), "c")).toEqual([0, 0, 0, 0.5]);
  expect(writeThree()).toEqual(["model.safetensors"]);
  expect(readdirSync(folder)).toEqual(["model.safetensors"]);
  expect(readFloats(folder, "a")).toEqual([1, 1, 1, 1.5]);
});

it("openSafetensors() names missing shards, and tensors that shard and index disagree about", () => {
  writeThree(32);
  const indexPath = join(folder, "model.safetensors.index.json");
  const second = join(folder, "model-00002-of-00002.safetensors");
  const rewrite = (map: object): void => writeFileSync(indexPath, JSON.stringify({ weight_map: map }));
  const [one, two] = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  rewrite({ a: one, c: one, b: two, d: two });
  expect(messageFrom(() => openSafetensors(folder))).toBe(
    `Cannot read shard "DIR/${two}": it has no tensor "d", expected it because "DIR/model.safetensors.index.json" places it there`,
  );
  rewrite({ a: one, b: two });
  expect(messageFrom(() => openSafetensors(folder))).toBe(
    `Cannot read shard "DIR/${one}": it has tensor "c" but "DIR/model.safetensors.index.json" does not list it, expected it in the index`,
  );
  rewrite({ a: one, b: two, c: "../secret.safetensors" });
  expect(messageFrom(() => openSafetensors(folder))).toBe(
    'Cannot read shard index "DIR/model.safetensors.index.json": tensor "c" lies in "../secret.safetensors", expected the name of a file beside the index',
  );
  rewrite({ a: one, c: one, b: two });
  rmSync(second);
  expect(messageFrom(() => openSafetensors(folder))).toBe(
    `Cannot read shard index "DIR/model.safetensors.index.json": 1 of its 2 shards are missing from "DIR": "${two}", expected all of them. Download the missing files`,
  );
  writeFileSync(indexPath, '{\n "weight_map": {\n  "a" }');
  expect(messageFrom(() => openSafetensors(folder))).toBe(
    'Cannot read shard index "DIR/model.safetensors.index.json": line 3 has "}", expected ":"',
  );
});
