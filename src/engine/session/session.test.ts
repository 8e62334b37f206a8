import { existsSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import type { ArrayOf, DType, HostTensor } from "../../tensor/index.js";
import { createNativeRuntime, createRuntime, createStockRuntime, kernelLibraryPath } from "./index.js";
import { findOrtLibrary } from "./ort-api.js";
import { selfTest } from "./self-test.js";
import type { Runtime, Session } from "./session.js";
import { type TinyModel, tinyModel } from "./tiny-model.js";

const float32 = (shape: readonly number[], values: readonly number[]): HostTensor<"float32"> => ({
  dtype: "float32",
  shape,
  data: Float32Array.from(values),
});

const identity = (dtype: DType): TinyModel => ({
  nodes: [{ opType: "Identity", inputs: ["x"], outputs: ["y"] }],
  inputs: [{ name: "x", dtype, shape: ["N"] }],
  outputs: [{ name: "y", dtype, shape: ["N"] }],
});

/** s = a + b, d = a - b. */
const SUM_AND_DIFFERENCE: TinyModel = {
  nodes: [
    { opType: "Add", inputs: ["a", "b"], outputs: ["s"] },
    { opType: "Sub", inputs: ["a", "b"], outputs: ["d"] },
  ],
  inputs: [
    { name: "a", dtype: "float32", shape: [2, 2] },
    { name: "b", dtype: "float32", shape: [2, 2] },
  ],
  outputs: [
    { name: "s", dtype: "float32", shape: [2, 2] },
    { name: "d", dtype: "float32", shape: [2, 2] },
  ],
};

const SAMPLES: { readonly [D in DType]: ArrayOf[D] } = {
  float32: Float32Array.of(1.5, -2, 3e-30),
  int64: BigInt64Array.of(-1n, 1n << 40n, 7n),
  int32: Int32Array.of(-5, 2 ** 30, 0),
  bool: Uint8Array.of(1, 0, 1),
  uint8: Uint8Array.of(255, 0, 128),
  uint16: Uint16Array.of(65535, 0, 32768),
};

const RUNTIMES: readonly (readonly [string, () => Promise<Runtime>])[] = [
  ["stock", createStockRuntime],
  ["native", async () => createNativeRuntime()],
];

const noLibrary = findOrtLibrary() === undefined;

for (const [kind, create] of RUNTIMES) {
  const title =
    noLibrary && kind === "native"
      ? `${kind} runtime (skipped: no library for this platform)`
      : `${kind} runtime`;
  describe.skipIf(noLibrary && kind === "native")(title, () => {
    const sessions: Session[] = [];
    afterAll(() => {
      for (const session of sessions) session.release();
    });
    const open = async (model: TinyModel | Uint8Array, options = {}): Promise<Session> => {
      const bytes = model instanceof Uint8Array ? model : tinyModel(model);
      const session = await (await create()).createSession(bytes, { threads: 1, ...options });
      sessions.push(session);
      return session;
    };

    it("passes its self-test", async () => {
      await expect(create().then(selfTest)).resolves.toBeUndefined();
    });

    it.each(Object.keys(SAMPLES) as DType[])("carries %s through a graph", async (dtype) => {
      const session = await open(identity(dtype));
      const data = SAMPLES[dtype];
      const y = { dtype, shape: [3], data: new (data.constructor as typeof Float32Array)(3) as never };
      await session.run({ x: { dtype, shape: [3], data } }, { y });
      expect(y.data).toEqual(data);
    });

    it("fetches only what is asked for, into views that do not start their buffer", async () => {
      const session = await open(SUM_AND_DIFFERENCE);
      const a = float32([2, 2], [1, 2, 3, 4]);
      const b = float32([2, 2], [10, 20, 30, 40]);
      const memory = new Float32Array(12).fill(-1);
      const d: HostTensor = { dtype: "float32", shape: [2, 2], data: memory.subarray(4, 8) };
      await session.run({ a, b }, { d });
      expect([...memory]).toEqual([-1, -1, -1, -1, -9, -18, -27, -36, -1, -1, -1, -1]);
    });

    it("runs an output over its input", async () => {
      const session = await open(SUM_AND_DIFFERENCE);
      const a = float32([2, 2], [1, 2, 3, 4]);
      const b = float32([2, 2], [10, 20, 30, 40]);
      await session.run({ a, b }, { s: a });
      await session.run({ a, b }, { s: a });
      expect([...a.data]).toEqual([21, 42, 63, 84]);
    });

    it("follows tensors that change between runs: values, memory, shape", async () => {
      const session = await open(identity("float32"));
      for (const values of [[1], [2], [3, 4, 5], [], [6, 7]]) {
        const y = float32(
          [values.length],
          values.map(() => 0),
        );
        await session.run({ x: float32([values.length], values) }, { y });
        expect([...y.data]).toEqual(values);
      }
    });

    it("works with duplicates kept", async () => {
      const session = await open(SUM_AND_DIFFERENCE, { keepDuplicates: true });
      const s = float32([2, 2], [0, 0, 0, 0]);
      await session.run({ a: float32([2, 2], [1, 2, 3, 4]), b: float32([2, 2], [1, 1, 1, 1]) }, { s });
      expect([...s.data]).toEqual([2, 3, 4, 5]);
    });

    it("says what is wrong with a model", async () => {
      await expect(open(Uint8Array.of(1, 2, 3))).rejects.toThrow(
        /^Cannot create session: .*(protobuf|model)/is,
      );
      const unknownOp = {
        ...identity("bool"),
        nodes: [{ opType: "Frobnicate", inputs: ["x"], outputs: ["y"] }],
      };
      await expect(open(unknownOp)).rejects.toThrow(/Cannot create session: .*Frobnicate/s);
    });

    it("names the input or output that the graph does not have, or lacks", async () => {
      const session = await open(SUM_AND_DIFFERENCE);
      const x = float32([2, 2], [0, 0, 0, 0]);
      await expect(session.run({ a: x, b: x, c: x }, { s: x })).rejects.toThrow(
        'Cannot run session: the graph has no input "c", expected a, b',
      );
      await expect(session.run({ a: x, b: x }, { t: x })).rejects.toThrow(
        'Cannot run session: the graph has no output "t", expected s, d',
      );
      await expect(session.run({ a: x }, { s: x })).rejects.toThrow(/without "b"/);
    });

    it("refuses wrong shapes, and arrays that are not as long as their shape", async () => {
      const session = await open(SUM_AND_DIFFERENCE);
      const good = float32([2, 2], [0, 0, 0, 0]);
      await expect(
        session.run({ a: good, b: float32([2, 3], [1, 2, 3, 4, 5, 6]) }, { s: good }),
      ).rejects.toThrow(/Cannot run session: .*(3|dimension)/is);
      const short: HostTensor = { dtype: "float32", shape: [2, 2], data: new Float32Array(3) };
      await expect(session.run({ a: short, b: good }, { s: good })).rejects.toThrow(
        /"a" has 3 elements.*expected 4/,
      );
      await expect(session.run({ a: good, b: good }, { s: good })).resolves.toBeUndefined();
    });

    it("refuses to run once released, and releases twice", async () => {
      const session = await open(identity("bool"));
      session.release();
      session.release();
      await expect(session.run({}, {})).rejects.toThrow("Cannot run session: it was released");
    });
  });
}

describe.skipIf(noLibrary)("native runtime, memory and cost", () => {
  const rssMb = (): number => process.memoryUsage().rss / 2 ** 20;

  it("leaks nothing over 10,000 runs with new memory each time", async () => {
    const session = await createNativeRuntime().createSession(tinyModel(identity("float32")), { threads: 1 });
    const once = async (): Promise<void> => {
      const x = { dtype: "float32", shape: [4096], data: new Float32Array(4096) } as const;
      await session.run({ x }, { y: { ...x, data: new Float32Array(4096) } });
    };
    for (let run = 0; run < 2_000; run++) await once();
    const before = rssMb();
    for (let run = 0; run < 10_000; run++) await once();
    session.release();
    // A lost handle per run alone would be 20,000 x 200 bytes; lost arrays would be 320 MB.
    expect(rssMb() - before).toBeLessThan(40);
  });

  it("opens and releases sessions without growing", async () => {
    const runtime = createNativeRuntime();
    const model = tinyModel(SUM_AND_DIFFERENCE);
    const cycle = async (): Promise<void> => (await runtime.createSession(model, { threads: 1 })).release();
    for (let round = 0; round < 50; round++) await cycle();
    const before = rssMb();
    for (let round = 0; round < 200; round++) await cycle();
    expect(rssMb() - before).toBeLessThan(20);
  });

  it("runs 300 inputs in well under a millisecond of its own", async () => {
    const names = Array.from({ length: 300 }, (_, index) => `x${index}`);
    const session = await createNativeRuntime().createSession(
      tinyModel({
        nodes: [{ opType: "Sum", inputs: names, outputs: ["y"] }],
        inputs: names.map((name) => ({ name, dtype: "float32", shape: [32] })),
        outputs: [{ name: "y", dtype: "float32", shape: [32] }],
      }),
      { threads: 1 },
    );
    const inputs = Object.fromEntries(
      names.map((name, index) => [name, float32([32], Array(32).fill(index))]),
    );
    const y = float32([32], Array(32).fill(0));
    const times: number[] = [];
    for (let run = 0; run < 50; run++) {
      const start = performance.now();
      await session.run(inputs, { y });
      times.push(performance.now() - start);
    }
    session.release();
    expect(y.data[0]).toBe((299 * 300) / 2);
    expect(Math.min(...times)).toBeLessThan(1);
  });

  it("reads and writes shared memory", async () => {
    const session = await createNativeRuntime().createSession(tinyModel(identity("float32")), { threads: 1 });
    const shared = new Float32Array(new SharedArrayBuffer(32));
    shared.set([1, 2, 3]);
    const x: HostTensor = { dtype: "float32", shape: [3], data: shared.subarray(0, 3) };
    await session.run({ x }, { y: { dtype: "float32", shape: [3], data: shared.subarray(4, 7) } });
    session.release();
    expect([...shared]).toEqual([1, 2, 3, 0, 1, 2, 3, 0]);
  });
});

describe("createRuntime", () => {
  it("says which runtime it took and why", async () => {
    const chosen = await createRuntime();
    await expect(selfTest(chosen)).resolves.toBeUndefined();
    expect(chosen.reason).not.toBe("");
    if (!noLibrary && existsSync(kernelLibraryPath())) expect(chosen.lowering).toBe("native");
  });

  it("leaves the kernels alone when told to, and takes the binding when asked", async () => {
    const withoutKernels = await createRuntime({ kernels: false });
    expect(withoutKernels.lowering).toBe("cpu");
    expect(withoutKernels.reason).toContain("kernels switched off");
    const stock = await createRuntime({ prefer: "cpu" });
    expect(stock.reason).toBe("stock binding: asked for");
    await expect(selfTest(stock)).resolves.toBeUndefined();
  });
});
