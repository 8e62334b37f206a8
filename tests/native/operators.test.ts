/**
 * The operators of the domain "hone" as onnxruntime sees them: attributes, optional inputs and outputs, shapes, errors.
 * That their numbers are right is the business of the kernels' own tests; here a few are checked to see what arrives.
 */
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createNativeRuntime, kernelLibraryPath, type Session } from "../../src/engine/session/index.js";
import { type TinyNode, type TinyValue, tinyModel } from "../../src/engine/session/tiny-model.js";
import type { DType, HostTensor } from "../../src/tensor/index.js";
import { bf16Of } from "./numbers.js";

const built = existsSync(kernelLibraryPath());
const title = built ? "operators" : "operators (skipped: the kernel library is not built)";

const float32 = (shape: readonly number[], values: readonly number[]): HostTensor<"float32"> => ({
  dtype: "float32",
  shape,
  data: Float32Array.from(values),
});
const int64 = (values: readonly number[]): HostTensor<"int64"> => ({
  dtype: "int64",
  shape: [values.length],
  data: BigInt64Array.from(values, BigInt),
});
const bf16 = (shape: readonly number[], values: readonly number[]): HostTensor<"uint16"> => ({
  dtype: "uint16",
  shape,
  data: bf16Of(Float32Array.from(values)),
});
const int32 = (values: readonly number[]): HostTensor<"int32"> => ({
  dtype: "int32",
  shape: [values.length],
  data: Int32Array.from(values),
});
const empty = (shape: readonly number[]): HostTensor<"float32"> =>
  float32(shape, Array(shape.reduce((product, size) => product * size, 1)).fill(Number.NaN));
const value = (name: string, dtype: DType, shape: readonly (number | string)[]): TinyValue => ({
  name,
  dtype,
  shape,
});

describe.skipIf(!built)(title, () => {
  const open = (
    nodes: readonly TinyNode[],
    inputs: Readonly<Record<string, HostTensor>>,
    outputs: Readonly<Record<string, HostTensor>>,
    symbolic = false,
  ): Promise<Session> => {
    const declare = (tensors: Readonly<Record<string, HostTensor>>): TinyValue[] =>
      Object.entries(tensors).map(([name, { dtype, shape }]) =>
        value(name, dtype, symbolic ? shape.map((_, axis) => `${name}_${axis}`) : shape),
      );
    return createNativeRuntime({ kernelLibrary: kernelLibraryPath() }).createSession(
      tinyModel({
        nodes: nodes.map((node) => ({ domain: "hone", ...node })),
        inputs: declare(inputs),
        outputs: declare(outputs),
      }),
      { threads: 2 },
    );
  };
  const run = async (
    node: TinyNode,
    inputs: Readonly<Record<string, HostTensor>>,
    outputs: Readonly<Record<string, HostTensor>>,
    symbolic = false,
  ): Promise<void> => {
    const session = await open([node], inputs, outputs, symbolic);
    try {
      await session.run(inputs, outputs);
    } finally {
      session.release();
    }
  };
  const node = (
    opType: string,
    inputs: readonly string[],
    outputs: readonly string[],
    attributes: NonNullable<TinyNode["attributes"]> = {},
  ): TinyNode => ({ opType, inputs, outputs, attributes });

  const a = float32([2, 3], [1, 2, 3, 4, 5, 6]);
  const b = float32([3, 2], [1, -1, 0, 2, 3, 0.5]);
  const turned = (x: HostTensor<"float32">): HostTensor<"float32"> => {
    const [rows, columns] = [x.shape[0]!, x.shape[1]!];
    return float32(
      [columns, rows],
      Array.from(x.data, (_, i) => x.data[(i % rows) * columns + Math.floor(i / rows)]!),
    );
  };

  it.each([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ])("MatMul obeys transA=%i and transB=%i, with declared and with open shapes", async (transA, transB) => {
    for (const symbolic of [false, true]) {
      const y = empty([2, 2]);
      const inputs = { a: transA ? turned(a) : a, b: transB ? turned(b) : b };
      await run(node("MatMul", ["a", "b"], ["y"], { transA, transB }), inputs, { y }, symbolic);
      expect([...y.data]).toEqual([10, 4.5, 22, 9]);
    }
  });

  it("MatMul scales, and adds a matrix or a row", async () => {
    const y = empty([2, 2]);
    const attributes = { alpha: { float: 2 } };
    const c = float32([2, 2], [1, 2, 3, 4]);
    await run(node("MatMul", ["a", "b", "c"], ["y"], attributes), { a, b, c }, { y });
    expect([...y.data]).toEqual([21, 11, 47, 22]);
    expect([...c.data]).toEqual([1, 2, 3, 4]);
    const row = float32([2], [100, 200]);
    await run(node("MatMul", ["a", "b", "c"], ["y"], attributes), { a, b, c: row }, { y });
    expect([...y.data]).toEqual([120, 209, 144, 218]);
    await run(node("MatMul", ["a", "b", ""], ["y"], attributes), { a, b }, { y });
    expect([...y.data]).toEqual([20, 9, 44, 18]);
  });

  it("MatMul takes over the memory of what it adds to only when nobody else reads it", async () => {
    const c = float32([2, 2], [1, 2, 3, 4]);
    const outputs = { twice: empty([2, 2]), kept: empty([2, 2]) };
    const session = await open(
      [
        { ...node("Add", ["c", "c"], ["sum"]), domain: "" },
        node("MatMul", ["a", "b", "sum"], ["y"]),
        node("MatMul", ["a", "b", "y"], ["twice"]),
        { ...node("Neg", ["y"], ["kept"]), domain: "" },
      ],
      { a, b, c },
      outputs,
    );
    await session.run({ a, b, c }, outputs);
    session.release();
    expect([...outputs.twice.data]).toEqual([22, 13, 50, 26]);
    expect([...outputs.kept.data]).toEqual([-12, -8.5, -28, -17]);
  });

  it("MatMulSharing multiplies one operand by several, and takes over summands that nobody else reads", async () => {
    const [c, w] = [float32([2, 2], [1, 2, 3, 4]), float32([1, 3], [1, 1, 1])];
    const [bT, row] = [turned(b), float32([1], [0.5])];
    for (const symbolic of [false, true]) {
      const outputs = { y: empty([2, 2]), kept: empty([2, 2]), z: empty([2, 1]), sums: empty([2, 1]) };
      const inputs = { a, bT, c, w, row };
      const session = await open(
        [
          { ...node("Add", ["c", "c"], ["sum"]), domain: "" },
          { ...node("Add", ["sum", "c"], ["other"]), domain: "" },
          node("MatMulSharing", ["a", "bT", "w", "bT", "sum", "row", "other"], ["y", "z", "taken"], {
            transB: 1,
          }),
          { ...node("Sub", ["taken", "sum"], ["kept"]), domain: "" },
          node("MatMulSharing", ["a", "w", "w", "", "", ""], ["sums", "rest"], {
            transB: 1,
            alpha: { float: 2 },
          }),
        ],
        inputs,
        outputs,
        symbolic,
      );
      await session.run(inputs, outputs);
      session.release();
      expect([...outputs.y.data]).toEqual([12, 8.5, 28, 17]);
      expect([...outputs.z.data]).toEqual([6.5, 15.5]);
      expect([...outputs.kept.data]).toEqual([11, 6.5, 25, 13]);
      expect([...outputs.sums.data]).toEqual([12, 30]);
    }
    const right = { y: empty([3, 3]), z: empty([1, 3]) };
    const one = float32([2, 1], [1, -1]);
    const attributes = { transA: 1, xIsB: 1 };
    await run(node("MatMulSharing", ["a", "a", "one"], ["y", "z"], attributes), { a, one }, right, true);
    expect([...right.y.data]).toEqual([17, 22, 27, 22, 29, 36, 27, 36, 45]);
    expect([...right.z.data]).toEqual([-3, -3, -3]);
    const wrong = run(
      node("MatMulSharing", ["a", "b", "w"], ["y", "z"]),
      { a, b, w },
      { y: empty([2, 2]), z: empty([2, 3]) },
    );
    await expect(wrong).rejects.toThrow(/the inner sizes of a and b differ/);
  });

  it("MatMulSharingBf16 multiplies by several w or their transposes", async () => {
    const [u, v] = [bf16([2, 3], [1, 0, 3, -1, 2, 0.5]), bf16([1, 3], [1, -2, 0.5])];
    const [y, z, row] = [empty([2, 2]), empty([2, 1]), float32([1], [1])];
    await run(
      node("MatMulSharingBf16", ["a", "u", "v", "", "", "row"], ["y", "z"]),
      { a, u, v, row },
      { y, z },
      true,
    );
    expect([...y.data]).toEqual([10, 4.5, 22, 9]);
    expect([...z.data]).toEqual([-0.5, -2]);
    const dx = { p: empty([2, 3]), q: empty([2, 3]) };
    const dy = float32([2, 2], [1, 2, -1, 0.5]);
    await run(node("MatMulSharingBf16", ["dy", "u", "u"], ["p", "q"], { trans: 1 }), { dy, u }, dx, true);
    for (const { data } of [dx.p, dx.q]) expect([...data]).toEqual([-1, 4, 4, -1.5, 1, -2.75]);
  });

  it("MatMulBf16 multiplies by w or its transpose, and adds a matrix or a row", async () => {
    const w = bf16([2, 3], [1, 0, 3, -1, 2, 0.5]); // b transposed
    const dy = float32([2, 2], [1, 2, -1, 0.5]);
    for (const symbolic of [false, true]) {
      const [y, dx, plus, biased] = [empty([2, 2]), empty([2, 3]), empty([2, 3]), empty([2, 2])];
      await run(node("MatMulBf16", ["a", "w"], ["y"]), { a, w }, { y }, symbolic);
      expect([...y.data]).toEqual([10, 4.5, 22, 9]);
      await run(node("MatMulBf16", ["dy", "w"], ["dx"], { trans: 1 }), { dy, w }, { dx }, symbolic);
      expect([...dx.data]).toEqual([-1, 4, 4, -1.5, 1, -2.75]);
      const inputs = { dy, w, a };
      await run(node("MatMulBf16", ["dy", "w", "a"], ["plus"], { trans: 1 }), inputs, { plus }, symbolic);
      expect([...plus.data]).toEqual([0, 6, 7, 2.5, 6, 3.25]);
      expect([...a.data]).toEqual([1, 2, 3, 4, 5, 6]);
      const row = float32([2], [100, 200]);
      await run(node("MatMulBf16", ["a", "w", "row"], ["biased"]), { a, w, row }, { biased }, symbolic);
      expect([...biased.data]).toEqual([110, 204.5, 122, 209]);
    }
    const wrong = run(node("MatMulBf16", ["a", "w"], ["y"], { trans: 1 }), { a, w }, { y: empty([2, 3]) });
    await expect(wrong).rejects.toThrow(/x has not as many columns as w needs/);
  });

  it("the head in bf16 gives what the head in float32 gives", async () => {
    const values = [0.125, 0.25, -0.375, 0.5, 1, 0, -1, 0, 0.5, 0.5, 0.5, 0.5];
    const inputs = {
      hidden: float32([2, 4], [1, 0, 2, -1, 0.5, 1, 0, 3]),
      targets: int64([2, 0]),
      d: float32([2], [1, -2]),
    };
    const ins = ["hidden", "w", "targets"];
    const results: number[][] = [];
    for (const [suffix, w] of [
      ["", float32([3, 4], values)],
      ["Bf16", bf16([3, 4], values)],
    ] as const) {
      const [p, lse, dh, p2, lse2, dh2, only] = [2, 2, 8, 2, 2, 8, 8].map((count) =>
        empty(count === 8 ? [2, 4] : [2]),
      ) as [HostTensor, HostTensor, HostTensor, HostTensor, HostTensor, HostTensor, HostTensor];
      const { hidden, targets, d } = inputs;
      await run(node(`Logprobs${suffix}`, ins, ["p", "lse"]), { hidden, w, targets }, { p, lse });
      await run(
        node(`LogprobsGrad${suffix}`, [...ins, "lse", "d"], ["dh"]),
        { hidden, w, targets, lse, d },
        { dh },
      );
      await run(
        node(`LogprobsWithGrad${suffix}`, [...ins, "d"], ["p2", "lse2", "dh2"]),
        { ...inputs, w },
        { p2, lse2, dh2 },
      );
      await run(
        node(`LogprobsWithGrad${suffix}`, [...ins, "d"], ["p3", "", "only"]),
        { ...inputs, w },
        { p3: empty([2]), only },
      );
      results.push([p, lse, dh, p2, lse2, dh2, only].flatMap(({ data }) => [...data].map(Number)));
    }
    // logits of row 0: -1.125, -1, 1.
    expect(results[1]![0]).toBeCloseTo(1 - Math.log(Math.exp(-1.125) + Math.exp(-1) + Math.exp(1)), 5);
    results[1]!.forEach((number, index) => {
      expect(number).toBeCloseTo(results[0]![index]!, 5);
    });
  });

  it("GatherRowsBf16 looks rows up", async () => {
    const [table, rows] = [bf16([3, 2], [1, 2, 3, 4, -0.5, 0.25]), empty([4, 2])];
    const lookup = node("GatherRowsBf16", ["table", "at"], ["rows"]);
    await run(lookup, { table, at: int64([2, 0, 0, 1]) }, { rows }, true);
    expect([...rows.data]).toEqual([-0.5, 0.25, 1, 2, 1, 2, 3, 4]);
    await expect(run(lookup, { table, at: int64([0, 0, 0, 3]) }, { rows })).rejects.toThrow(
      /GatherRowsBf16: a target or position is outside its table/,
    );
  });

  it("ScatterAddRows takes its rows from an input of that many, and adds in place of none", async () => {
    const [sizes, updates, y] = [empty([3, 1]), float32([3, 2], [1, 2, 3, 4, 5, 6]), empty([3, 2])];
    const add = node("ScatterAddRows", ["sizes", "at", "updates"], ["y"]);
    await run(add, { sizes, at: int64([2, 0, 2]), updates }, { y }, true);
    expect([...y.data]).toEqual([3, 4, 0, 0, 6, 8]);
    await expect(run(add, { sizes, at: int64([2, 0, -1]), updates }, { y })).rejects.toThrow(
      /ScatterAddRows: a target or position is outside its table/,
    );
  });

  it("multiplies empty matrices", async () => {
    const y = float32([0, 2], []);
    await run(node("MatMul", ["a", "b"], ["y"]), { a: float32([0, 3], []), b }, { y }, true);
    const zero = empty([2, 2]);
    await run(
      node("MatMul", ["a", "b"], ["y"]),
      { a: float32([2, 0], []), b: float32([0, 2], []) },
      { y: zero },
      true,
    );
    expect([...zero.data]).toEqual([0, 0, 0, 0]);
  });

  it("RmsNorm gives its rows' scales to those who ask, and the same rows to those who do not", async () => {
    const [x, w] = [float32([2, 4], [1, 2, 3, 4, 0, 0, 1, 0]), float32([4], [1, 1, 2, 1])];
    const [y, scales, alone] = [empty([2, 4]), empty([2]), empty([2, 4])];
    const attributes = { eps: { float: 0.5 } };
    await run(node("RmsNorm", ["x", "w"], ["y", "s"], attributes), { x, w }, { y, s: scales });
    expect(scales.data[0]).toBeCloseTo(1 / Math.sqrt(8), 6);
    expect(scales.data[1]).toBeCloseTo(1 / Math.sqrt(0.75), 6);
    expect(y.data[2]).toBeCloseTo(6 / Math.sqrt(8), 6);
    await run(node("RmsNorm", ["x", "w"], ["y", ""], attributes), { x, w }, { y: alone });
    expect(alone.data).toEqual(y.data);
  });

  it("Attention reads heads, kvHeads, scale and window", async () => {
    // One sequence of three, then one of one. Keys are zero, so every weight is even: o is a mean of values.
    const [q, k] = [empty([4, 8]), float32([4, 4], Array(16).fill(0))];
    q.data.fill(1);
    const v = float32([4, 4], [1, 1, 1, 1, 3, 3, 3, 3, 8, 8, 8, 8, 20, 20, 20, 20]);
    const ends = int32([3, 3, 3, 4]);
    const means = async (window: number): Promise<number[]> => {
      const o = empty([4, 8]);
      const attributes = { heads: 2, kvHeads: 1, scale: { float: 0.5 }, window };
      const outputs = window === 0 ? { o, lse: empty([4, 2]) } : { o };
      await run(
        node("Attention", ["q", "k", "v", "ends"], Object.keys(outputs), attributes),
        { q, k, v, ends },
        outputs,
      );
      return [0, 1, 2, 3].map((token) => o.data[8 * token + 5]!);
    };
    const close = (found: readonly number[], wanted: readonly number[]): void =>
      found.forEach((number, index) => {
        expect(number).toBeCloseTo(wanted[index]!, 5);
      });
    close(await means(0), [1, 2, 4, 20]);
    close(await means(2), [1, 2, 5.5, 20]);
  });

  it("Logprobs and its gradients agree on what is asked for and what is not", async () => {
    const inputs = {
      hidden: float32([2, 4], [1, 0, 2, -1, 0.5, 1, 0, 3]),
      w: float32([3, 4], [0.1, 0.2, -0.3, 0.4, 1, 0, -1, 0, 0.5, 0.5, 0.5, 0.5]),
      targets: int64([2, 0]),
    };
    const grads = { ...inputs, d: float32([2], [1, -2]) };
    const [logprobs, lse, same] = [empty([2]), empty([2]), empty([2])];
    const ins = ["hidden", "w", "targets"];
    await run(node("Logprobs", ins, ["p", "lse"]), inputs, { p: logprobs, lse });
    await run(node("Logprobs", ins, ["p"]), inputs, { p: same });
    expect(same.data).toEqual(logprobs.data);
    // logits of row 0: -0.9, -1, 1.
    expect(logprobs.data[0]).toBeCloseTo(1 - Math.log(Math.exp(-0.9) + Math.exp(-1) + Math.exp(1)), 5);

    const [dhidden, dw, alone] = [empty([2, 4]), empty([3, 4]), empty([2, 4])];
    const withGrad = [empty([2]), empty([2, 4]), empty([3, 4])] as const;
    const wanted = { ...grads, lse };
    await run(node("LogprobsGrad", [...ins, "lse", "d"], ["dh", "dw"]), wanted, { dh: dhidden, dw });
    await run(node("LogprobsGrad", [...ins, "lse", "d"], ["dh", ""]), wanted, { dh: alone });
    expect(alone.data).toEqual(dhidden.data);
    await run(node("LogprobsWithGrad", [...ins, "d"], ["p", "", "dh", "dw"]), grads, {
      p: withGrad[0],
      dh: withGrad[1],
      dw: withGrad[2],
    });
    const pairs = [
      [withGrad[0], logprobs],
      [withGrad[1], dhidden],
      [withGrad[2], dw],
    ] as const;
    for (const [found, expected] of pairs)
      found.data.forEach((number, index) => {
        expect(number).toBeCloseTo(expected.data[index]!, 5);
      });
  });

  it("says what is wrong when it runs", async () => {
    const y = { y: empty([2, 2]) };
    const matmul = node("MatMul", ["a", "b"], ["y"]);
    await expect(run(matmul, { a, b: a }, y)).rejects.toThrow(/MatMul.*inner sizes of a and b differ/s);
    await expect(run(matmul, { a, b: a }, y, true)).rejects.toThrow(
      /Cannot run session.*inner sizes of a and b differ/s,
    );
    const outside = { hidden: a, w: a, targets: int64([0, 2]) };
    await expect(
      run(node("Logprobs", ["hidden", "w", "targets"], ["p"]), outside, { p: empty([2]) }),
    ).rejects.toThrow(/Logprobs: a target or position is outside its table/);
    const gate = { gate: a, up: b };
    await expect(run(node("Swiglu", ["gate", "up"], ["y"]), gate, { y: empty([2, 3]) })).rejects.toThrow(
      /gate and up must be matrices of one shape/,
    );
    const attention = { q: a, k: a, v: a, ends: int32([2, 2]) };
    await expect(
      run(node("Attention", ["q", "k", "v", "ends"], ["o"]), attention, { o: empty([2, 3]) }),
    ).rejects.toThrow(/heads and kvHeads must be given/);
  });
});
