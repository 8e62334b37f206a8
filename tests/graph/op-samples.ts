/** Sample inputs for every op of the compiler: what the conformance suite feeds to every lowering. */
import { Random } from "../../src/base/index.js";
import type { OPS, ReferenceArray, Value } from "../../src/graph/index.js";
import * as graph from "../../src/graph/index.js";

type DType = Value["dtype"];

export interface Sample {
  readonly title: string;
  readonly inputs: Readonly<Record<string, { readonly dtype: DType; readonly array: ReferenceArray }>>;
  /** Builds the op's outputs from its input values. */
  readonly build: (values: Readonly<Record<string, Value>>) => readonly Value[];
  /** Inputs whose gradients are checked. */
  readonly differentiable: readonly string[];
  /** Largest error allowed on onnxruntime, relative to the largest element. */
  readonly tolerance?: number;
}

const random = new Random(20261120);
type Entry = Sample["inputs"][string];

function real(shape: readonly number[], low = -2, high = 2): Entry {
  const size = shape.reduce((a, b) => a * b, 1);
  // Rounded to float32, so that the reference and onnxruntime start from the same numbers.
  return {
    dtype: "float32",
    array: {
      shape,
      data: Float64Array.from({ length: size }, () => Math.fround(low + (high - low) * random.uniform())),
    },
  };
}

function whole(
  dtype: DType,
  shape: readonly number[],
  values: readonly number[] | ((i: number) => number),
): Entry {
  const size = shape.reduce((a, b) => a * b, 1);
  const at = typeof values === "function" ? values : (i: number) => values[i]!;
  return { dtype, array: { shape, data: Float64Array.from({ length: size }, (_, i) => at(i)) } };
}

function unary(op: (x: Value) => Value, low = -2, high = 2, differentiable = ["x"]): Sample[] {
  return [
    { title: "[3, 5]", inputs: { x: real([3, 5], low, high) }, build: ({ x }) => [op(x!)], differentiable },
  ];
}

function binary(
  op: (a: Value, b: Value) => Value,
  low = -2,
  high = 2,
  differentiable = ["a", "b"],
): Sample[] {
  const shapes: [number[], number[]][] = [
    [
      [3, 4],
      [3, 4],
    ],
    [[3, 4], [4]],
    [
      [3, 1],
      [1, 4],
    ],
    [[], [2, 3]],
    [
      [2, 3, 4],
      [3, 1],
    ],
  ];
  return shapes.map(([a, b]) => ({
    title: `[${a.join(", ")}] with [${b.join(", ")}]`,
    inputs: { a: real(a, low, high), b: real(b, low, high) },
    build: (values) => [op(values["a"]!, values["b"]!)],
    differentiable,
  }));
}

/** Products of x [5, 6] with two or three matrices; the middle one has a matrix added, the last one a row. */
function matmulSharingSamples(): Sample[] {
  const samples = [false, true].flatMap((sharesRight) =>
    [false, true].flatMap((transA) =>
      [false, true].map((transB): Sample => {
        const [m, n] = sharesRight
          ? [
              [7, 4, 3],
              [5, 5, 5],
            ]
          : [
              [5, 5, 5],
              [7, 4, 3],
            ];
        const w = m.map((rows, i) => {
          const [r, c, isTurned] = sharesRight ? [rows, 6, transA] : [6, n[i]!, transB];
          return real(isTurned ? [c, r] : [r, c]);
        });
        const isTall = sharesRight ? !transB : transA;
        return {
          title: `${sharesRight ? "right" : "left"} shared, transA ${transA} transB ${transB}`,
          inputs: {
            x: real(isTall ? [6, 5] : [5, 6]),
            u: w[0]!,
            v: w[1]!,
            w: w[2]!,
            c: real([m[1]!, n[1]!]),
            d: real([n[2]!]),
          },
          build: ({ x, u, v, w, c, d }) =>
            graph.applyAll(graph.OPS.matmulSharing, [x!, u!, v!, w!, c!, d!], {
              ...{ transA, transB, alpha: 0.5, sharesRight, products: 3, summands: [1, 2] },
            }),
          differentiable: [],
        };
      }),
    ),
  );
  const frozen = (used: boolean): Sample => ({
    title: `frozen weights${used ? ", one of which something else reads too" : ""}`,
    inputs: { x: real([5, 16]), u: bits([12, 16]), v: bits([3, 16]), c: real([3]), other: real([3, 16]) },
    build: ({ x, u, v, c, other }) => {
      const wide = graph.widen(v!);
      return [
        ...graph.applyAll(graph.OPS.matmulSharing, [x!, graph.widen(u!), wide, c!], {
          ...{ transA: false, transB: true, alpha: 1, sharesRight: false, products: 2, summands: [1] },
        }),
        ...(used ? [graph.add(wide, other!)] : []),
      ];
    },
    differentiable: [],
  });
  return [...samples, frozen(false), frozen(true)];
}

function matmulSamples(): Sample[] {
  const samples: Sample[] = [];
  for (const transA of [false, true]) {
    for (const transB of [false, true]) {
      for (const batch of [[], [2, 3]]) {
        for (const alpha of [1, 0.25]) {
          samples.push({
            title: `batch [${batch}] transA ${transA} transB ${transB} alpha ${alpha}`,
            inputs: {
              a: real([...batch, ...(transA ? [6, 5] : [5, 6])]),
              b: real([...batch, ...(transB ? [7, 6] : [6, 7])]),
            },
            build: ({ a, b }) => [graph.matmul(a!, b!, { transA, transB, alpha })],
            differentiable: ["a", "b"],
          });
        }
      }
      samples.push(
        ...[[5, 7], [7]].map((summand) => ({
          title: `plus [${summand}] transA ${transA} transB ${transB}`,
          inputs: { a: real(transA ? [6, 5] : [5, 6]), b: real(transB ? [7, 6] : [6, 7]), c: real(summand) },
          build: ({ a, b, c }: Readonly<Record<string, Value>>) => [
            graph.matmul(a!, b!, { transA, transB, alpha: 0.5, plus: c! }),
          ],
          differentiable: ["a", "b", "c"],
        })),
      );
    }
  }
  return samples;
}

/** A sequence of a row: its length, or where its tokens are packed when it shares some with other sequences. */
type Sequence = number | readonly number[];

/** Sequences packed one after the other, and laid out in rows of `length` in order. */
function layout(rowsOfSequences: readonly (readonly Sequence[])[], length: number): Record<string, Entry> {
  const [ends, rows, places, startColumns]: [number[], number[], number[], number[]] = [[], [], [], []];
  rowsOfSequences.forEach((sequences, row) => {
    let column = 0;
    for (const sequence of sequences) {
      const packed =
        typeof sequence === "number" ? Array.from({ length: sequence }, (_, i) => ends.length + i) : sequence;
      for (const [i, token] of packed.entries()) {
        rows.push(token);
        places[token] ??= row * length + column + i;
        startColumns.push(column);
        ends[token] = packed.at(-1)! + 1;
      }
      column += packed.length;
    }
    for (; column < length; column++) {
      rows.push(0);
      startColumns.push(0);
    }
  });
  return {
    ends: whole("int32", [ends.length], ends),
    rows: whole("int64", [rows.length], rows),
    places: whole("int64", [places.length], places),
    startColumns: whole("int64", [rows.length], startColumns),
    columns: whole("int64", [length], (i) => i),
  };
}

function attentionSample(
  title: string,
  {
    heads,
    kvHeads,
    width,
    window = 0,
    uniform = false,
  }: { heads: number; kvHeads: number; width: number; window?: number; uniform?: boolean },
  sequences: readonly (readonly Sequence[])[],
  length: number,
): Sample {
  const arrangement = layout(sequences, length);
  const tokens = arrangement["ends"]!.array.shape[0]!;
  return {
    title,
    inputs: {
      q: real([tokens, heads * width]),
      k: real([tokens, kvHeads * width]),
      v: real([tokens, kvHeads * width]),
      ...arrangement,
    },
    build: (values) => {
      const [q, k, v, ends, rows, places, startColumns, columns] = [
        "q",
        "k",
        "v",
        "ends",
        "rows",
        "places",
        "startColumns",
        "columns",
      ].map((name) => values[name]!);
      const o = graph.attention(
        { q: q!, k: k!, v: v! },
        { ends: ends!, rows: rows!, places: places!, startColumns: startColumns!, columns: columns! },
        { heads, kvHeads, scale: 1 / Math.sqrt(width), window, uniform },
      );
      return o.node.outputs;
    },
    differentiable: ["q", "k", "v"],
    tolerance: 3e-6,
  };
}

const ATTENTION: readonly Sample[] = [
  attentionSample("one full row", { heads: 2, kvHeads: 2, width: 4, uniform: true }, [[5]], 5),
  attentionSample(
    "full rows, grouped queries",
    { heads: 4, kvHeads: 2, width: 8, uniform: true },
    [[6], [6]],
    6,
  ),
  attentionSample(
    "several sequences in a row, padding",
    { heads: 4, kvHeads: 1, width: 4 },
    [[3, 4], [6], [1]],
    8,
  ),
  attentionSample("sliding window", { heads: 2, kvHeads: 1, width: 8, window: 3 }, [[7, 2], [5]], 9),
  attentionSample(
    "branches behind a shared prefix, and a sequence alone",
    { heads: 4, kvHeads: 2, width: 8 },
    [[[0, 1, 2, 3, 4]], [[0, 1, 2, 5]], [[0, 1, 2, 6, 7, 8]], [[9, 10]]],
    6,
  ),
  attentionSample(
    "branches of branches under a sliding window",
    { heads: 2, kvHeads: 1, width: 4, window: 3 },
    [[[0, 1, 2, 3]], [[0, 1, 4, 5, 6, 7]], [[0, 1, 4, 5, 8]], [[0, 1, 4, 9], [10]]],
    6,
  ),
  attentionSample(
    "heads too narrow for the native kernel",
    { heads: 4, kvHeads: 2, width: 6 },
    [[3, 4], [2]],
    7,
  ),
];

/** Sequences with so many cached and new tokens, their pages dealt out of order. */
function decodeAttentionSample(
  title: string,
  { heads, kvHeads, width, window = 0 }: { heads: number; kvHeads: number; width: number; window?: number },
  lengths: readonly (readonly [past: number, fresh: number])[],
): Sample {
  const page = graph.CACHE_PAGE;
  const needed = lengths.map(([past, fresh]) => Math.ceil((past + fresh) / page));
  const tableWidth = Math.max(...needed);
  const pages = needed.reduce((a, b) => a + b, 0) + 1;
  const free = random.shuffled(Array.from({ length: pages }, (_, i) => i));
  const tables = needed.flatMap((count) => [
    ...free.splice(0, count),
    ...new Array<number>(tableWidth - count).fill(0),
  ]);
  const tokens = lengths.flatMap(([past, fresh], sequence) =>
    Array.from({ length: fresh }, (_, i) => ({ sequence, position: past + i, column: i })),
  );
  const longest = Math.max(...lengths.map(([, fresh]) => fresh));
  const rows = new Array<number>(lengths.length * longest).fill(0);
  tokens.forEach(({ sequence, column }, t) => {
    rows[sequence * longest + column] = t;
  });
  return {
    title,
    inputs: {
      q: real([tokens.length, heads * width]),
      k: real([tokens.length, kvHeads * width]),
      v: real([tokens.length, kvHeads * width]),
      keys: real([pages, kvHeads * width * page]),
      values: real([pages, kvHeads * width * page]),
      tables: whole("int32", [lengths.length, tableWidth], tables),
      sequences: whole("int32", [tokens.length], (t) => tokens[t]!.sequence),
      positions: whole("int32", [tokens.length], (t) => tokens[t]!.position),
      pastLengths: whole("int64", [lengths.length], (s) => lengths[s]![0]),
      rows: whole("int64", [rows.length], rows),
      places: whole("int64", [tokens.length], (t) => tokens[t]!.sequence * longest + tokens[t]!.column),
      columns: whole("int64", [longest], (i) => i),
      keyColumns: whole("int64", [page * tableWidth], (i) => i),
    },
    build: (values) => {
      const at = (name: string): Value => values[name]!;
      return [
        graph.decodeAttention(
          { q: at("q"), k: at("k"), v: at("v") },
          { keys: at("keys"), values: at("values") },
          {
            tables: at("tables"),
            sequences: at("sequences"),
            positions: at("positions"),
            pastLengths: at("pastLengths"),
            rows: at("rows"),
            places: at("places"),
            columns: at("columns"),
            keyColumns: at("keyColumns"),
          },
          { heads, kvHeads, scale: 1 / Math.sqrt(width), window },
        ),
      ];
    },
    differentiable: [],
    tolerance: 3e-6,
  };
}

const DECODE_ATTENTION: readonly Sample[] = [
  decodeAttentionSample("one new token each, unequal pasts", { heads: 2, kvHeads: 2, width: 16 }, [
    [5, 1],
    [40, 1],
    [0, 1],
    [15, 1],
    [16, 1],
  ]),
  decodeAttentionSample(
    "prompts beside single tokens, grouped queries",
    { heads: 6, kvHeads: 2, width: 20 },
    [
      [0, 21],
      [33, 1],
      [7, 12],
    ],
  ),
  decodeAttentionSample("sliding window", { heads: 2, kvHeads: 1, width: 8, window: 5 }, [
    [0, 19],
    [70, 1],
    [2, 1],
    [90, 3],
  ]),
  decodeAttentionSample("many keys, wide heads", { heads: 1, kvHeads: 1, width: 128 }, [
    [150, 1],
    [0, 70],
  ]),
  decodeAttentionSample("heads too narrow for the native kernel", { heads: 2, kvHeads: 1, width: 6 }, [
    [3, 2],
    [18, 1],
  ]),
];

function quantised(block: number, zeros: boolean, rows = 6, width = 128): Record<string, Entry> {
  return {
    packed: whole("uint8", [rows, width / 2], () => random.integer(256)),
    scales: real([rows, width / block], -0.2, 0.2),
    ...(zeros ? { zeros: whole("uint8", [rows, width / block], () => random.integer(16)) } : {}),
  };
}

const weightOf = ({ packed, scales, zeros }: Readonly<Record<string, Value>>, block: number) => ({
  packed: packed!,
  scales: scales!,
  block,
  ...(zeros === undefined ? {} : { zeros }),
});

const head = (): Record<string, Entry> => ({
  hidden: real([9, 8]),
  w: real([11, 8]),
  targets: whole("int64", [9], () => random.integer(11)),
});

/** A table with fewer rows than there are tokens, as in a batch of many short sequences. */
const rope = (tokens: number, half: number): Record<string, Entry> => ({
  positions: whole("int64", [tokens], () => random.integer(7)),
  cos: real([7, half], -1, 1),
  sin: real([7, half], -1, 1),
});

const indices = (count: number, bound: number): Entry => whole("int64", [count], () => random.integer(bound));

/** Builds a gradient op by differentiating: its samples are those of the op it belongs to. */
function gradientsOf(samples: readonly Sample[]): Sample[] {
  return samples.map((sample) => {
    const probe = sample.build(
      Object.fromEntries(
        Object.entries(sample.inputs).map(([name, { dtype, array }]) => [
          name,
          graph.input(name, array.shape, dtype),
        ]),
      ),
    );
    const seed = real(probe[0]!.shape as number[]);
    return {
      ...sample,
      inputs: { ...sample.inputs, seed },
      build: (values) =>
        graph.gradient(
          graph.sumAll(graph.mul(sample.build(values)[0]!, values["seed"]!)),
          sample.differentiable.map((name) => values[name]!),
        ),
      differentiable: [],
    };
  });
}

const NORM: readonly Sample[] = [
  {
    title: "[5, 8]",
    inputs: { x: real([5, 8]), w: real([8]) },
    build: ({ x, w }) => graph.rmsNorm(x!, w!, 1e-5).node.outputs,
    differentiable: ["x", "w"],
  },
  {
    title: "[1, 64]",
    inputs: { x: real([1, 64], -30, 30), w: real([64]) },
    build: ({ x, w }) => graph.rmsNorm(x!, w!, 1e-6).node.outputs,
    differentiable: ["x", "w"],
  },
];
const SWIGLU: readonly Sample[] = [
  {
    title: "[5, 7]",
    inputs: { gate: real([5, 7], -8, 8), up: real([5, 7]) },
    build: ({ gate, up }) => [graph.swiglu(gate!, up!)],
    differentiable: ["gate", "up"],
  },
];
const LOGPROBS: readonly Sample[] = [
  {
    title: "[9, 8] over 11 tokens",
    inputs: head(),
    build: ({ hidden, w, targets }) => graph.logprobs(hidden!, w!, targets!).node.outputs,
    differentiable: ["hidden", "w"],
    tolerance: 3e-6,
  },
];
/** Every bit pattern class of finite bf16 numbers: zeros, subnormals, small and large, both signs. */
const SPECIAL_BITS = [0, 0x8000, 1, 0x8001, 0x007f, 0x0080, 0x3f80, 0xbf80, 0x4049, 0x7f7f, 0xff7f];
/** bf16 bits of numbers in ±[0.5, 2). */
const bits = (shape: readonly number[]): Entry =>
  whole("uint16", shape, () => (random.integer(2) << 15) | (126 << 7) | random.integer(256));

const WIDEN: readonly Sample[] = [
  {
    title: "every class of numbers",
    inputs: { x: whole("uint16", [SPECIAL_BITS.length], SPECIAL_BITS) },
    build: ({ x }) => [graph.widen(x!)],
    differentiable: [],
  },
  ...[false, true].map((bias) => ({
    title: `a frozen weight of a product${bias ? " with a bias" : ""}, forward and backward`,
    inputs: { x: real([5, 16]), w: bits([12, 16]), ...(bias ? { b: real([12]) } : {}) },
    build: ({ x, w, b }: Readonly<Record<string, Value>>) => [graph.linear(x!, graph.widen(w!), b)],
    differentiable: ["x"],
  })),
  ...gradientsOf([
    {
      title: "the gradient through a frozen weight",
      inputs: { x: real([5, 16]), w: bits([12, 16]) },
      build: ({ x, w }) => [graph.linear(x!, graph.widen(w!))],
      differentiable: ["x"],
    },
    {
      title: "the gradient of a frozen head",
      inputs: { ...head(), w: bits([11, 8]) },
      build: ({ hidden, w, targets }) => [graph.logprobs(hidden!, graph.widen(w!), targets!)],
      differentiable: ["hidden"],
      tolerance: 3e-6,
    },
  ]),
  {
    title: "a frozen head",
    inputs: { ...head(), w: bits([11, 8]) },
    build: ({ hidden, w, targets }) => graph.logprobs(hidden!, graph.widen(w!), targets!).node.outputs,
    differentiable: ["hidden"],
    tolerance: 3e-6,
  },
  {
    title: "a frozen embedding",
    inputs: { w: bits([6, 8]), at: indices(9, 6) },
    build: ({ w, at }) => [graph.gatherRows(graph.widen(w!), at!)],
    differentiable: [],
  },
  {
    title: "a weight that two kinds of ops read",
    inputs: { w: bits([6, 8]), at: indices(9, 6), x: real([6, 8]) },
    build: ({ w, at, x }) => [graph.gatherRows(graph.widen(w!), at!), graph.add(graph.widen(w!), x!)],
    differentiable: ["x"],
  },
];

const LOGPROBS_ENTROPY: readonly Sample[] = [
  {
    title: "all three outputs",
    inputs: head(),
    build: ({ hidden, w, targets }) => graph.logprobsEntropy(hidden!, w!, targets!).entropy.node.outputs,
    differentiable: ["hidden", "w"],
    tolerance: 3e-6,
  },
  {
    title: "the entropy alone",
    inputs: head(),
    build: ({ hidden, w, targets }) => [graph.logprobsEntropy(hidden!, w!, targets!).entropy],
    differentiable: ["hidden", "w"],
    tolerance: 3e-6,
  },
  ...[false, true].map((frozen) => ({
    title: `both together${frozen ? " over a frozen head" : ""}`,
    inputs: frozen ? { ...head(), w: bits([11, 8]) } : head(),
    build: ({ hidden, w, targets }: Readonly<Record<string, Value>>) => {
      const head = frozen ? graph.widen(w!) : w!;
      const { logprobs, entropy } = graph.logprobsEntropy(hidden!, head, targets!);
      return [graph.add(graph.mul(logprobs, 0.7), graph.mul(entropy, logprobs))];
    },
    differentiable: frozen ? ["hidden"] : ["hidden", "w"],
    tolerance: 3e-6,
  })),
];

const dequantise = (values: Readonly<Record<string, Value>>, block: number): Value => {
  const { packed, scales, zeros } = weightOf(values, block);
  const identity = graph.constant(
    Array.from({ length: 128 * 128 }, (_, i) => Number(i % 129 === 0)),
    [128, 128],
  );
  return graph.quantisedLinear(identity, {
    packed,
    scales,
    block,
    ...(zeros === undefined ? {} : { zeros }),
  });
};

const quantisedSamples: readonly Sample[] = [32, 128].flatMap((block) =>
  [false, true].map((zeros) => ({
    title: `block ${block}${zeros ? " with zero points" : ""}`,
    inputs: { x: real([5, 128]), ...quantised(block, zeros) },
    build: (values: Readonly<Record<string, Value>>) => [
      graph.quantisedLinear(values["x"]!, weightOf(values, block)),
    ],
    differentiable: ["x"],
  })),
);

const choose = (condition: Value, a: Value, b: Value): Value =>
  graph.where(graph.lessOrEqual(condition, 0), a, b);

export const OP_SAMPLES: Readonly<Record<keyof typeof OPS, readonly Sample[]>> = {
  input: unary((x) => graph.mul(x, 1)),
  constant: [
    {
      title: "vector",
      inputs: { x: real([2, 3]) },
      build: ({ x }) => [graph.add(x!, graph.constant([1, 2, 3], [3]))],
      differentiable: ["x"],
    },
  ],
  add: binary(graph.add),
  sub: binary(graph.sub),
  mul: binary(graph.mul),
  div: binary(graph.div, 0.5, 2),
  minimum: binary(graph.minimum),
  maximum: binary(graph.maximum),
  neg: unary(graph.neg),
  exp: unary(graph.exp),
  log: unary(graph.log, 0.1, 3),
  sqrt: unary(graph.sqrt, 0.1, 3),
  reciprocal: unary(graph.reciprocal, 0.5, 2),
  sigmoid: unary(graph.sigmoid, -9, 9),
  tanh: unary(graph.tanh),
  stopGradient: unary((x) => graph.mul(x, graph.stopGradient(x)), -2, 2, []),
  checkpoint: unary((x) => graph.mul(graph.checkpoint(x), x)),
  lessOrEqual: binary(graph.lessOrEqual, -2, 2, []),
  equal: [
    {
      title: "integers",
      inputs: { a: indices(20, 3), b: indices(20, 3) },
      build: ({ a, b }) => [graph.equal(a!, b!)],
      differentiable: [],
    },
  ],
  and: [
    {
      title: "[20]",
      inputs: { a: real([20]), b: real([20]) },
      build: ({ a, b }) => [graph.and(graph.lessOrEqual(a!, 0), graph.lessOrEqual(b!, 0))],
      differentiable: [],
    },
  ],
  where: [
    [
      [3, 4],
      [3, 4],
    ],
    [[4], [3, 1]],
  ].map(([a, b]) => ({
    title: `[${a}] and [${b}]`,
    inputs: { condition: real([3, 4]), a: real(a!), b: real(b!) },
    build: ({ condition, a: left, b: right }: Readonly<Record<string, Value>>) => [
      choose(condition!, left!, right!),
    ],
    differentiable: ["a", "b"],
  })),
  cast: [
    {
      title: "int64 to float32",
      inputs: { x: indices(6, 9) },
      build: ({ x }) => [graph.cast(x!, "float32")],
      differentiable: [],
    },
  ],
  reshape: unary((x) => graph.mul(graph.reshape(x, [5, 3]), 2)),
  transpose: [
    [1, 0, 2],
    [2, 0, 1],
  ].map((permutation) => ({
    title: `[${permutation}]`,
    inputs: { x: real([2, 3, 4]) },
    build: ({ x }: Readonly<Record<string, Value>>) => [graph.transpose(x!, permutation)],
    differentiable: ["x"],
  })),
  expand: [
    {
      title: "[3, 1] to [2, 3, 4]",
      inputs: { x: real([3, 1]) },
      build: ({ x }) => [graph.expand(x!, [2, 3, 4])],
      differentiable: ["x"],
    },
    {
      title: "scalars on both sides of an add",
      inputs: { x: real([]) },
      build: ({ x }) => [graph.add(graph.expand(x!, [2, 3]), graph.zeros([2, 3]))],
      differentiable: ["x"],
    },
  ],
  slice: [
    {
      title: "middle of axis 1",
      inputs: { x: real([2, 7, 3]) },
      build: ({ x }) => [graph.slice(x!, 1, 2, 5)],
      differentiable: ["x"],
    },
  ],
  concat: [
    {
      title: "along axis 1",
      inputs: { a: real([2, 3]), b: real([2, 1]), c: real([2, 4]) },
      build: ({ a, b, c }) => [graph.concat([a!, b!, c!], 1)],
      differentiable: ["a", "b", "c"],
    },
  ],
  sum: [[0], [1, 2], [0, 1, 2]].map((axes) => ({
    title: `axes [${axes}]`,
    inputs: { x: real([2, 3, 4]) },
    build: ({ x }: Readonly<Record<string, Value>>) => [graph.sum(x!, axes)],
    differentiable: ["x"],
  })),
  max: [
    {
      title: "last axis",
      inputs: { x: real([3, 5]) },
      build: ({ x }) => [graph.max(x!, [-1])],
      differentiable: [],
    },
  ],
  matmul: matmulSamples(),
  matmulSharing: matmulSharingSamples(),
  gatherRows: [
    {
      title: "with repeats",
      inputs: { x: real([4, 3]), at: indices(7, 4) },
      build: ({ x, at }) => [graph.gatherRows(x!, at!)],
      differentiable: ["x"],
    },
  ],
  scatterAddRows: [
    {
      title: "with repeats",
      inputs: { x: real([7, 3]), at: indices(7, 4) },
      build: ({ x, at }) => [graph.scatterAddRows(at!, x!, 4)],
      differentiable: ["x"],
    },
  ],
  pickColumns: [
    {
      title: "[5, 6]",
      inputs: { x: real([5, 6]), at: indices(5, 6) },
      build: ({ x, at }) => [graph.pickColumns(x!, at!)],
      differentiable: ["x"],
    },
  ],
  spreadColumns: gradientsOf([
    {
      title: "[5, 6]",
      inputs: { x: real([5, 6]), at: indices(5, 6) },
      build: ({ x, at }) => [graph.pickColumns(x!, at!)],
      differentiable: ["x"],
    },
  ]),
  softmax: unary(graph.softmax, -20, 20),
  rmsNorm: NORM,
  rmsNormGrad: gradientsOf(NORM),
  swiglu: SWIGLU,
  swigluGrad: gradientsOf(SWIGLU),
  rotary: [
    {
      title: "2 heads of 8",
      inputs: { x: real([9, 16]), ...rope(9, 4) },
      build: ({ x, positions, cos, sin }) => [graph.rotary(x!, positions!, { cos: cos!, sin: sin! }, 2)],
      differentiable: ["x"],
    },
  ],
  attention: ATTENTION,
  attentionGrad: gradientsOf(ATTENTION),
  decodeAttention: DECODE_ATTENTION,
  logprobs: LOGPROBS,
  logprobsGrad: gradientsOf(LOGPROBS),
  logprobsWithGrad: gradientsOf(LOGPROBS).map((sample) => ({
    ...sample,
    build: (values) => {
      const forward = LOGPROBS[0]!.build(values)[0]!;
      const grads = graph.gradient(graph.sumAll(graph.mul(forward, values["seed"]!)), [
        values["hidden"]!,
        values["w"]!,
      ]);
      const { outputs } = graph.fuseLogprobs({ outputs: { forward, a: grads[0]!, b: grads[1]! } });
      return Object.values(outputs);
    },
  })),
  logprobsEntropy: LOGPROBS_ENTROPY,
  logprobsEntropyGrad: gradientsOf(LOGPROBS_ENTROPY.slice(1)),
  widen: WIDEN,
  dequantise: quantisedSamples.map((sample) => ({
    ...sample,
    build: (values) => [dequantise(values, sample.title.includes("128") ? 128 : 32)],
    differentiable: [],
  })),
  unpackNibbles: quantisedSamples
    .slice(0, 1)
    .map((sample) => ({ ...sample, build: (values) => [dequantise(values, 32)], differentiable: [] })),
  bytesToFloat: quantisedSamples
    .slice(1, 2)
    .map((sample) => ({ ...sample, build: (values) => [dequantise(values, 32)], differentiable: [] })),
  quantisedMatmul: [...quantisedSamples, ...gradientsOf(quantisedSamples)],
  packPanels: [32, 70].map((rows) => ({
    title: `[${rows}, 19]`,
    inputs: { w: real([rows, 19]) },
    build: ({ w }: Readonly<Record<string, Value>>) => [graph.packPanels(w!).panels],
    differentiable: [],
  })),
  panelMatmul: [[], [70], [5, 70]].map((summand) => ({
    title: summand.length === 0 ? "alone" : `plus [${summand}]`,
    inputs: { x: real([5, 19]), w: real([70, 19]), ...(summand.length === 0 ? {} : { c: real(summand) }) },
    build: ({ x, w, c }: Readonly<Record<string, Value>>) => [graph.panelLinear(x!, graph.packPanels(w!), c)],
    differentiable: [],
  })),
};
