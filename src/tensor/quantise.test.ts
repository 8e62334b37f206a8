import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, it } from "vitest";
import { Random, UserError } from "../base/index.js";
import { openGguf } from "./gguf.js";
import { writeGguf } from "./gguf-writer.js";
import {
  createQuantisedMatrix,
  dequantise,
  type QuantBlock,
  quantise,
  quantisedFromQ4_0,
  quantiseFromFile,
  quantiseRowsInto,
} from "./quantise.js";
import { openSafetensors } from "./safetensors.js";
import { writeSafetensors } from "./safetensors-writer.js";

const folder = mkdtempSync(join(tmpdir(), "hone-quantise-"));
afterAll(() => rmSync(folder, { recursive: true }));

function normals(count: number, seed = 1): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: count }, () => random.normal());
}

it("quantise() by hand: a block from -8 to 7 with scale 1 packs the even column low", () => {
  const block = Float32Array.from({ length: 32 }, (_, i) => (i % 16) - 8);
  const q = quantise(block, { rows: 1, columns: 32 });
  expect([...q.scales]).toEqual([1]);
  expect([...q.packed.subarray(0, 8)]).toEqual([0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe]);
  expect([...dequantise(q)]).toEqual([...block]);
});

it("quantise() by hand: with zero points, a block from -1 to 2 has scale 0.2 and zero 5", () => {
  const block = new Float32Array(32).fill(0);
  block[0] = -1;
  block[1] = 2;
  block[2] = 0.65; // 0.65 / 0.2 + 5 = 8.25
  const q = quantise(block, { rows: 1, columns: 32, zeroPoint: true });
  expect([...q.scales]).toEqual([Math.fround(0.2)]);
  expect([...q.zeros!]).toEqual([5]);
  expect([...q.packed.subarray(0, 3)]).toEqual([0xf0, 0x58, 0x55]);
  expect(dequantise(q)[3]).toBe(0);
});

const blocks = fc.array(fc.float({ noNaN: true, min: -1e6, max: 1e6 }), { minLength: 128, maxLength: 128 });
const SLACK = 1 + 2 ** -18; // float32 rounding of the scale and of up to 15 steps, in half steps

it.each<QuantBlock>([32, 128])(
  "symmetric, block %i: the error is at most half a step, a whole one where q is clipped",
  (block) => {
    fc.assert(
      fc.property(blocks, (values) => {
        const w = Float32Array.from(values);
        const q = quantise(w, { rows: 1, columns: 128, block });
        dequantise(q).forEach((value, i) => {
          const scale = q.scales[Math.floor(i / block)]!;
          const isClipped = w[i]! / scale > 7.5;
          const bound = Math.abs(scale) * (isClipped ? 1 : 0.5) * SLACK;
          expect(Math.abs(value - w[i]!)).toBeLessThanOrEqual(bound + 2 ** -149);
        });
        const extreme = w.reduce((most, x) => (Math.abs(x) > Math.abs(most) ? x : most), 0);
        const index = w.indexOf(extreme);
        if (Math.abs(extreme) > 2 ** -120) expect(dequantise(q)[index]! / extreme).toBeCloseTo(1, 6);
      }),
      { seed: 6, numRuns: 300 },
    );
  },
);

it.each<QuantBlock>([32, 128])(
  "zero points, block %i: the error is at most half a step, and 0 stays 0",
  (block) => {
    fc.assert(
      fc.property(blocks, (values) => {
        const w = Float32Array.from(values);
        w[5] = 0;
        const q = quantise(w, { rows: 1, columns: 128, block, zeroPoint: true });
        expect(Math.max(...q.zeros!)).toBeLessThanOrEqual(15);
        dequantise(q).forEach((value, i) => {
          const scale = q.scales[Math.floor(i / block)]!;
          expect(scale).toBeGreaterThanOrEqual(0);
          expect(Math.abs(value - w[i]!)).toBeLessThanOrEqual((scale / 2) * SLACK + 15 * 2 ** -149);
        });
        expect(dequantise(q)[5]).toBe(0);
      }),
      { seed: 7, numRuns: 300 },
    );
  },
);

it("quantise() of normal weights loses what theory says: zero points lose less than symmetric, 32 less than 128", () => {
  const w = normals(256 * 128);
  const error = (block: QuantBlock, zeroPoint: boolean): number => {
    const back = dequantise(quantise(w, { rows: 256, columns: 128, block, zeroPoint }));
    return Math.sqrt(w.reduce((sum, x, i) => sum + (x - back[i]!) ** 2, 0) / w.length);
  };
  // Uniform rounding error is step / sqrt(12); the mean step of 32 normals is about 2.07 · 2 / 15.
  expect(error(32, true)).toBeCloseTo(0.08, 2);
  expect(error(32, false)).toBeGreaterThan(error(32, true));
  expect(error(128, true)).toBeGreaterThan(error(32, true));
});

it("quantise() gives zeros for a block of zeros", () => {
  for (const zeroPoint of [false, true]) {
    const q = quantise(new Float32Array(64), { rows: 2, columns: 32, zeroPoint });
    expect([...q.scales]).toEqual([-0, -0].map((zero) => (zeroPoint ? 0 : zero)));
    expect(dequantise(q).every((value) => value === 0)).toBe(true);
  }
});

it("quantise() refuses NaN, infinities and rows that are no whole blocks", () => {
  const w = new Float32Array(64);
  w[40] = Number.NaN;
  const message = "Cannot quantise a matrix: weight [1, 8] is NaN, expected finite numbers";
  expect(() => quantise(w, { rows: 2, columns: 32 })).toThrow(message);
  w[40] = Number.POSITIVE_INFINITY;
  expect(() => quantise(w, { rows: 2, columns: 32, zeroPoint: true })).toThrow("weight [1, 8] is Infinity");
  expect(() => quantise(new Float32Array(96), { rows: 2, columns: 48 })).toThrow(UserError);
  expect(() => quantise(new Float32Array(96), { rows: 2, columns: 48 })).toThrow(
    "Cannot quantise matrix: its rows have 48 columns, expected a multiple of the block 32",
  );
});

it("quantiseRowsInto() fills any rows, the same as all at once", () => {
  const w = normals(6 * 64);
  const whole = quantise(w, { rows: 6, columns: 64, zeroPoint: true });
  const parts = createQuantisedMatrix(6, 64, { zeroPoint: true });
  for (const [from, to] of [
    [4, 6],
    [0, 1],
    [1, 4],
  ] as const) {
    quantiseRowsInto(parts, from, w.subarray(from * 64, to * 64));
  }
  expect(parts).toEqual(whole);
  expect([...dequantise(whole, { firstRow: 2, rowCount: 1 })]).toEqual([
    ...dequantise(whole).subarray(128, 192),
  ]);
  expect(() => quantiseRowsInto(parts, 5, w.subarray(0, 128))).toThrow("expected whole rows within it");
});

it("quantiseFromFile() gives what quantise() gives for the whole tensor, and refuses NaN by name", () => {
  const path = join(folder, "w.safetensors");
  const w = normals(3000 * 1024); // more than one panel
  const bad = Float32Array.from({ length: 64 }, (_, i) => (i === 33 ? Number.NaN : i));
  writeSafetensors(path, [
    { name: "w", dtype: "F32", shape: [3000, 1024], read: () => w },
    { name: "bad", dtype: "BF16", shape: [2, 32], read: () => bad },
    { name: "flat", dtype: "F32", shape: [64], read: () => bad },
  ]);
  const file = openSafetensors(path);
  const sameBytes = (left: Float32Array | Uint8Array, right: Float32Array | Uint8Array): boolean =>
    Buffer.from(left.buffer, left.byteOffset, left.byteLength).equals(
      Buffer.from(right.buffer, right.byteOffset, right.byteLength),
    );
  const expected = quantise(w, { rows: 3000, columns: 1024 });
  const fused = createQuantisedMatrix(6000, 1024);
  quantiseFromFile(file, "w", { into: fused, firstRow: 3000 });
  for (const [got, skip] of [
    [quantiseFromFile(file, "w"), 0],
    [fused, 3000],
  ] as const) {
    expect(sameBytes(got.packed.subarray(skip * 512), expected.packed)).toBe(true);
    expect(sameBytes(got.scales.subarray(skip * 32), expected.scales)).toBe(true);
  }
  expect(() => quantiseFromFile(file, "bad")).toThrow(`tensor "bad" of "${path}": element [1, 1]`);
  expect(() => quantiseFromFile(file, "flat")).toThrow("its shape is [64], expected a matrix");
  file.close();
});

it("quantisedFromQ4_0() keeps every number of GGUF's blocks, and our own quantiser gives the same nibbles", () => {
  const path = join(folder, "w.gguf");
  const w = normals(8 * 96, 3);
  writeGguf(path, [{ name: "w", type: "Q4_0", shape: [8, 96], read: () => w }], {});
  const file = openGguf(path);
  const decoded = new Float32Array(w.length);
  file.readInto("w", decoded);
  const converted = quantisedFromQ4_0(file.readRaw("w"), 8, 96);
  file.close();
  expect([...dequantise(converted)]).toEqual([...decoded]);
  // Same rule, but GGUF rounds the scale to float16.
  const own = quantise(w, { rows: 8, columns: 96 });
  expect(own.packed).toEqual(converted.packed);
  for (const [i, scale] of own.scales.entries()) expect(converted.scales[i]! / scale).toBeCloseTo(1, 3);
  expect(() => quantisedFromQ4_0(new Uint8Array(17), 1, 32)).toThrow("17 bytes, expected 18");
});
