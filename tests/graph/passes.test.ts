/** Every pass on small graphs: what it prints, that the result is legal, and that no number changes. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import type { Graph, Lowering, ReferenceArray, Value } from "../../src/graph/index.js";
import * as g from "../../src/graph/index.js";

const random = new Random(1);
const real = (...shape: number[]): ReferenceArray => ({
  shape,
  data: Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => random.normal()),
});

/** Legal, the same outputs in name and type, and the same float64 values to `tolerance`. */
function expectSame(
  before: Graph,
  after: Graph,
  inputs: Readonly<Record<string, ReferenceArray>>,
  tolerance = 1e-12,
): void {
  g.verify(before);
  g.verify(after);
  expect(Object.keys(after.outputs)).toEqual(Object.keys(before.outputs));
  const [expected, actual] = [g.evaluate(before, inputs), g.evaluate(after, inputs)];
  for (const [name, { shape, data }] of Object.entries(expected)) {
    expect(after.outputs[name]!.shape, name).toEqual(before.outputs[name]!.shape);
    expect(actual[name]!.shape, name).toEqual(shape);
    data.forEach((value, i) => {
      expect(Math.abs(actual[name]!.data[i]! - value), `${name}[${i}]`).toBeLessThanOrEqual(tolerance);
    });
  }
}

const opsOf = (graph: Graph): string[] => g.nodesOf(graph).map(({ op }) => op.name);
const count = (graph: Graph, name: string): number => opsOf(graph).filter((op) => op === name).length;

describe("print()", () => {
  it("numbers values in order and shows attributes, dtypes and shapes", () => {
    const x = g.input("x", ["T", 8]);
    const w = g.input("w", [4, 8]);
    const ids = g.input("ids", ["S"], "int64");
    const y = g.gatherRows(g.linear(x, w), ids);
    expect(g.print({ outputs: { y, loss: g.sumAll(y) } })).toMatchInlineSnapshot(`
      "%0 = input {name: x}  float32[T, 8]
      %1 = input {name: w}  float32[4, 8]
      %2 = matmul %0 %1 {transB: true}  float32[T, 4]
      %3 = input {name: ids}  int64[S]
      %4 = gatherRows %2 %3  float32[S, 4]
      %5 = sum %4 {axes: [0, 1]}  float32[1, 1]
      %6 = reshape %5  float32[]
      y = %4
      loss = %6"
    `);
  });

  it("shows the gradient of a linear layer", () => {
    const x = g.input("x", ["T", 8]);
    const w = g.input("w", [4, 8]);
    const y = g.linear(x, w);
    const loss = g.sumAll(g.mul(y, y));
    const [dw] = g.gradient(loss, [w]);
    expect(g.print(g.commonSubgraphs({ outputs: { loss, dw: dw! } }))).toMatchInlineSnapshot(`
      "%0 = input {name: x}  float32[T, 8]
      %1 = input {name: w}  float32[4, 8]
      %2 = matmul %0 %1 {transB: true}  float32[T, 4]
      %3 = mul %2 %2  float32[T, 4]
      %4 = sum %3 {axes: [0, 1]}  float32[1, 1]
      %5 = reshape %4  float32[]
      %6 = constant {data: [1]}  float32[]
      %7 = reshape %6  float32[1, 1]
      %8 = expand %7  float32[T, 4]
      %9 = mul %8 %2  float32[T, 4]
      %10 = add %9 %9  float32[T, 4]
      %11 = matmul %10 %0 {transA: true}  float32[4, 8]
      loss = %5
      dw = %11"
    `);
  });
});

describe("verify()", () => {
  const x = g.input("x", [3]);
  it.each<[string, () => Graph, string]>([
    [
      "an input declared twice",
      () => ({ outputs: { y: g.add(g.input("a", [3]), g.input("a", [3])) } }),
      'internal: illegal graph: input "a" is declared twice',
    ],
    [
      "an op of no table",
      () => ({ outputs: { y: g.applyAll({ ...g.OPS.exp, name: "expp" }, [x], null)[0]! } }),
      "internal: illegal graph: expp is not in OPS",
    ],
    [
      "an output of another type than its inputs give",
      () => {
        const y = g.exp(x);
        const node = { ...y.node, outputs: [] as Value[] };
        node.outputs.push({ ...y, node, shape: [4] });
        return { outputs: { y: node.outputs[0]! } };
      },
      "internal: illegal graph: exp output 0 has another type than its inputs give",
    ],
    [
      "an output that belongs to another node",
      () => ({ outputs: { y: { ...g.exp(x), node: { ...g.exp(x).node, outputs: g.exp(x).node.outputs } } } }),
      "internal: illegal graph: exp output 0 belongs to another node",
    ],
  ])("refuses %s", (_title, build, message) => {
    expect(() => g.verify(build())).toThrow(new Error(message));
  });
});

describe("commonSubgraphs()", () => {
  it("merges equal computations and keeps different ones apart", () => {
    const x = g.input("x", [2, 3]);
    const y = g.input("y", [2, 3]);
    const before = {
      outputs: {
        a: g.add(g.exp(x), g.exp(y)),
        b: g.matmul(g.exp(x), y, { transB: true, alpha: 2 }),
        c: g.matmul(g.exp(x), y, { transB: true, alpha: 3 }),
      },
    };
    const after = g.commonSubgraphs(before);
    expect([count(before, "exp"), count(after, "exp")]).toEqual([4, 2]);
    expect(count(after, "matmul")).toBe(2);
    expectSame(before, after, { x: real(2, 3), y: real(2, 3) }, 0);
    expect(g.print(g.commonSubgraphs(after))).toBe(g.print(after));
  });
});

describe("fuseSummands()", () => {
  const x = g.input("x", ["T", 3]);
  const w = g.input("w", [3, 4]);
  const bias = g.input("bias", [4]);
  const other = g.input("other", ["T", 4]);
  const inputs = { x: real(5, 3), w: real(3, 4), bias: real(4), other: real(5, 4) };
  const product = (): Value => g.matmul(x, w, { alpha: 0.5 });

  it("gives a product the matrix or the vector that is added to it", () => {
    const before = { outputs: { matrix: g.add(product(), other), vector: g.add(bias, product()) } };
    const after = g.fuseSummands(before);
    expect(count(after, "add")).toBe(0);
    expectSame(before, after, inputs);
  });

  it("leaves alone a product that has another user, and one that is an output", () => {
    const shared = product();
    const twice = { outputs: { y: g.add(shared, other), z: g.exp(shared) } };
    expect(count(g.fuseSummands(twice), "add")).toBe(1);
    const exposed = { outputs: { y: g.add(shared, other), product: shared } };
    expect(count(g.fuseSummands(exposed), "add")).toBe(1);
    expectSame(twice, g.fuseSummands(twice), inputs);
    expectSame(exposed, g.fuseSummands(exposed), inputs);
  });

  it("adds two products: one takes the other", () => {
    const before = { outputs: { y: g.add(product(), g.matmul(x, g.exp(w))) } };
    const after = g.fuseSummands(before);
    expect([count(after, "matmul"), count(after, "add")]).toEqual([2, 0]);
    expectSame(before, after, inputs);
  });

  it("does not touch products of more than two axes, or scalars", () => {
    const a = g.input("a", [2, 3, 4]);
    const b = g.input("b", [2, 4, 5]);
    const batched = { outputs: { y: g.add(g.matmul(a, b), g.exp(g.matmul(a, b))) } };
    expect(count(g.fuseSummands(batched), "add")).toBe(1);
    const scalar = { outputs: { y: g.add(product(), 2) } };
    expectSame(scalar, g.fuseSummands(scalar), inputs);
  });
});

describe("shareOperands()", () => {
  const x = g.input("x", ["T", 3]);
  const weight = (name: string, rows: number): Value => g.input(name, [rows, 3]);
  const [q, k, v] = [weight("q", 4), weight("k", 2), weight("v", 2)];
  const bias = g.input("bias", [4]);
  const inputs = { x: real(5, 3), q: real(4, 3), k: real(2, 3), v: real(2, 3), bias: real(4) };
  const hidden = g.exp(g.neg(x));

  it("groups the products of an activation, summands included", () => {
    const before = {
      outputs: {
        q: g.exp(g.linear(hidden, q, bias)),
        k: g.exp(g.linear(hidden, k)),
        v: g.exp(g.linear(hidden, v)),
      },
    };
    const after = g.shareOperands(before);
    expect([count(after, "matmul"), count(after, "matmulSharing")]).toEqual([0, 1]);
    const [shared] = g.nodesOf(after).filter(({ op }) => op.name === "matmulSharing");
    expect(shared!.attributes).toEqual({
      ...{ transA: false, transB: true, alpha: 1, sharesRight: false, products: 3, summands: [0] },
    });
    expectSame(before, after, inputs, 0);
  });

  it("groups weight gradients, which share their right operand, wherever what they need is computed", () => {
    const [a, b] = [g.linear(hidden, q), g.sigmoid(g.sigmoid(g.linear(hidden, k)))];
    const [dq, dk] = g.gradient(g.add(g.sumAll(a), g.sumAll(b)), [q, k]);
    const before = { outputs: { dq: dq!, dk: dk! } };
    const after = g.shareOperands(before);
    const shared = g.nodesOf(after).filter(({ op }) => op.name === "matmulSharing");
    expect(shared.map(({ attributes }) => (attributes as { sharesRight: boolean }).sharesRight)).toEqual([
      true,
    ]);
    expectSame(before, after, inputs, 0);
  });

  it("makes groups of three at most", () => {
    const outputs = Object.fromEntries(
      Array.from({ length: 7 }, (_, i) => [`y${i}`, g.exp(g.linear(hidden, g.mul(k, i + 2)))]),
    );
    const after = g.shareOperands({ outputs });
    expect([count(after, "matmul"), count(after, "matmulSharing")]).toEqual([1, 2]);
    expectSame({ outputs }, after, inputs, 0);
  });

  it("keeps apart products of which one needs another, weights, and products of other kinds", () => {
    const chain = { outputs: { y: g.matmul(hidden, g.matmul(hidden, g.exp(hidden), { transA: true })) } };
    const needed = g.linear(hidden, g.input("w", [3, 3]));
    const late = { outputs: { y: g.exp(g.linear(hidden, g.matmul(needed, hidden, { transA: true }))) } };
    const ofWeight = { outputs: { a: g.exp(g.linear(hidden, q)), b: g.exp(g.linear(g.exp(hidden), q)) } };
    const scaled = {
      outputs: {
        a: g.matmul(hidden, k, { transB: true }),
        b: g.matmul(hidden, v, { transB: true, alpha: 2 }),
      },
    };
    for (const graph of [chain, late, ofWeight, scaled])
      expect(count(g.shareOperands(graph), "matmulSharing")).toBe(0);
  });

  it("never makes a circle, and no number changes", () => {
    const random = new Random(7);
    let groups = 0;
    for (let round = 0; round < 150; round++) {
      const values = [g.exp(g.input("a", [3, 3])), g.exp(g.input("b", [3, 3]))];
      const pick = (): Value => values[random.integer(values.length)]!;
      while (values.length < 14) {
        const options = { transA: random.uniform() < 0.3, transB: random.uniform() < 0.5 };
        const plus = random.uniform() < 0.3 ? { plus: pick() } : {};
        values.push(
          random.uniform() < 0.8
            ? g.matmul(pick(), pick(), { ...options, ...plus, alpha: 0.3 })
            : g.neg(pick()),
        );
      }
      const before = { outputs: { y: values.at(-1)!, z: pick(), last: values.slice(-4).reduce(g.add) } };
      const named = g
        .nodesOf(before)
        .flatMap(({ op, attributes }) =>
          op.name === "input" ? [(attributes as { name: string }).name] : [],
        );
      const after = g.shareOperands(before);
      groups += count(after, "matmulSharing");
      expectSame(before, after, Object.fromEntries(named.map((name) => [name, real(3, 3)])), 0);
    }
    expect(groups).toBeGreaterThan(40);
  });

  it("is run for native kernels only", () => {
    const outputs = { a: g.exp(g.linear(hidden, q)), b: g.exp(g.linear(hidden, k)) };
    const counts = (["primitives", "cpu", "native"] as const).map((lowering) =>
      count(g.optimise({ outputs }, { lowering }), "matmulSharing"),
    );
    expect(counts).toEqual([0, 0, 1]);
  });
});

/** Logprobs of 4 tokens over 7 words of width 3, and their weighted sum's gradients. */
function logprobGraph(weightOf: (logprobs: Value) => Value): {
  graph: Graph;
  inputs: Record<string, ReferenceArray>;
} {
  const hidden = g.input("hidden", [4, 3]);
  const head = g.input("head", [7, 3]);
  const logprobs = g.logprobs(hidden, head, g.input("targets", [4], "int64"));
  const loss = g.sumAll(g.mul(logprobs, weightOf(logprobs)));
  const [dHidden, dHead] = g.gradient(loss, [hidden, head]);
  return {
    graph: { outputs: { loss, logprobs, dHidden: dHidden!, dHead: dHead! } },
    inputs: {
      hidden: real(4, 3),
      head: real(7, 3),
      weights: real(4),
      targets: { shape: [4], data: Float64Array.of(6, 0, 3, 3) },
    },
  };
}

describe("fuseLogprobs()", () => {
  it("computes logits once where the weights are known beforehand", () => {
    const { graph, inputs } = logprobGraph(() => g.input("weights", [4]));
    const fused = g.fuseLogprobs(graph);
    expect(count(graph, "logprobs")).toBe(1);
    expect(count(graph, "logprobsGrad")).toBe(1);
    expect([
      count(fused, "logprobs"),
      count(fused, "logprobsGrad"),
      count(fused, "logprobsWithGrad"),
    ]).toEqual([0, 0, 1]);
    expectSame(graph, fused, inputs);
  });

  it("leaves the two apart where the weights follow from the logprobs, as in PPO", () => {
    const { graph, inputs } = logprobGraph((logprobs) => g.exp(logprobs));
    const fused = g.fuseLogprobs(graph);
    expect(g.print(fused)).toBe(g.print(graph));
    expectSame(graph, fused, inputs);
  });

  it("does not touch a forward pass", () => {
    const { graph } = logprobGraph(() => g.input("weights", [4]));
    const forward = { outputs: { loss: graph.outputs["loss"]! } };
    expect(g.fuseLogprobs(forward)).toBe(forward);
  });
});

describe("decompose()", () => {
  const { graph, inputs } = logprobGraph((logprobs) => g.exp(logprobs));

  it.each<Lowering>(["primitives", "cpu", "native"])(
    "for %s leaves only ops that it can emit",
    (lowering) => {
      const plain = g.decompose(graph, lowering);
      expectSame(graph, plain, inputs, 1e-9);
      expect(() => g.emitOnnx(plain, lowering)).not.toThrow();
      expect(g.decompose(plain, lowering)).toBe(plain);
    },
  );

  it("takes apart on plain providers what the native one has whole", () => {
    const x = g.input("x", ["T", 8]);
    const norm = { outputs: { y: g.rmsNorm(x, g.input("w", [8]), 1e-6), z: g.swiglu(x, x) } };
    expect(opsOf(g.decompose(norm, "native"))).toEqual(opsOf(norm));
    const plain = g.decompose(norm, "primitives");
    expect(opsOf(plain)).not.toContain("rmsNorm");
    expect(opsOf(plain)).not.toContain("swiglu");
    expectSame(norm, plain, { x: real(5, 8), w: real(8) });
  });
});

describe("recompute()", () => {
  /** Three layers, each behind a mark, as the decoder has them. */
  const x = g.input("x", ["T", 4]);
  const weights = [0, 1, 2].map((layer) => g.input(`w${layer}`, [4, 4]));
  const layers = weights.reduce<Value>((h, w) => {
    const marked = g.checkpoint(h);
    return g.add(marked, g.exp(g.mul(g.linear(marked, w), 0.1)));
  }, x);
  const loss = g.sumAll(g.mul(layers, layers));
  const gradients = g.gradient(loss, weights);
  const before: Graph = {
    outputs: { loss, ...Object.fromEntries(gradients.map((value, i) => [`dw${i}`, value])) },
  };
  const inputs = { x: real(3, 4), w0: real(4, 4), w1: real(4, 4), w2: real(4, 4) };
  const after = g.recompute(before, ["loss"]);

  it("changes no number and no output", () => {
    expectSame(before, after, inputs, 0);
  });

  it("computes again what lies between marks, but not what comes after the last", () => {
    expect([count(before, "exp"), count(after, "exp")]).toEqual([3, 5]);
    // The forward pass is untouched.
    expect(after.outputs["loss"]).toBe(before.outputs["loss"]);
  });

  it("lets the backward pass read only leaves, marks and what comes after the last mark", () => {
    const forward = new Set(g.nodesOf({ outputs: { loss: before.outputs["loss"]! } }));
    const belowMarks = new Set(
      [...forward]
        .filter(({ op }) => op.name === "checkpoint")
        .flatMap((mark) => g.nodesOf({ outputs: { mark: mark.outputs[0]! } })),
    );
    const read = g
      .nodesOf(after)
      .filter((node) => !forward.has(node))
      .flatMap((node) => node.inputs.map((input) => input.node))
      .filter((node) => belowMarks.has(node));
    const kinds = new Set(read.map(({ op }) => op.name));
    expect([...kinds].filter((name) => !["input", "constant", "checkpoint"].includes(name))).toEqual([]);
    expect(kinds).toContain("checkpoint");
  });

  it("is undone by merging, which is why the compiler merges before it", () => {
    expect(count(g.commonSubgraphs(after), "exp")).toBe(3);
    expect(count(g.optimise(before, { lowering: "native", recomputeBehind: ["loss"] }), "exp")).toBe(5);
  });

  it("lowers the peak of memory", () => {
    const deep = (layersCount: number, marks: boolean): number => {
      const ws = Array.from({ length: layersCount }, (_, i) => g.input(`w${i}`, [16, 16]));
      const input = g.input("x", ["T", 16]);
      const top = ws.reduce<Value>((h, w) => {
        let y = g.checkpoint(h);
        for (let i = 0; i < 6; i++) y = g.exp(g.mul(g.linear(y, w), 0.1));
        return y;
      }, input);
      const total = g.sumAll(top);
      const grads = g.gradient(total, ws);
      const graph = { outputs: { total, ...Object.fromEntries(grads.map((value, i) => [`g${i}`, value])) } };
      return g.peakBytes(marks ? g.recompute(graph, ["total"]) : graph, { T: 1000 });
    };
    expect(deep(10, true)).toBeLessThan(0.45 * deep(10, false));
  });
});

describe("optimise()", () => {
  it.each<Lowering>(["primitives", "cpu", "native"])("changes no number for %s", (lowering) => {
    for (const weightOf of [() => g.input("weights", [4]), (logprobs: Value) => g.exp(logprobs)]) {
      const { graph, inputs } = logprobGraph(weightOf);
      expectSame(graph, g.optimise(graph, { lowering }), inputs, 1e-9);
    }
  });
});
