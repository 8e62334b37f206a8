/** The stock onnxruntime form of the logprobs ops: an ONNX Loop over chunks of rows, so that only one chunk of logits exists. */
import type { Emitter, TypedNode } from "../graph.js";

/** Logits held at a time, in elements: 16 million, 64 MB. */
const CHUNK_ELEMENTS = 1 << 24;

/** Lowers the ops of logprobs.ts and logprobs-entropy.ts, told apart by which inputs and outputs they have. */
export function emitLogprobsLoop(emit: Emitter, { op, inputs, outputs }: TypedNode<null>): void {
  const [hidden, w, targets] = inputs.map((value) => emit.name(value)) as [string, string, string];
  const [vocabulary, width] = inputs[1]!.shape as [number, number]; // weights have known shapes
  const chunk = Math.max(1, Math.floor(CHUNK_ELEMENTS / vocabulary));
  const knowsLse = op.name === "logprobsGrad" || op.name === "logprobsEntropyGrad";
  const computesEntropy = op.name === "logprobsEntropy";
  const computesLogprobs = !knowsLse;
  const perRow = inputs.slice(3).map((value) => emit.name(value));
  const [knownLse, dlogprobs, knownEntropy, dentropy] = knowsLse ? perRow : [undefined, perRow[0]];
  const outputNames = outputs.map((value) => emit.name(value));
  const [logprobsOut = "", lseOut = "", entropyOut = ""] = computesLogprobs ? outputNames : [];
  const [dHiddenOut = "", dWeightOut = ""] = dlogprobs === undefined ? [] : outputNames.slice(-2);

  const one = emit.constant("int64", [1], [1]);
  const zero = emit.constant("int64", [1], [0]);
  const size = emit.constant("int64", [1], [chunk]);
  const rows = emit.fresh("rows");
  emit.node("Shape", [targets], [rows]);
  const trips = tripCount(emit, rows, chunk);

  // Carried from trip to trip: the pieces so far, and the sum of weight gradients.
  const carried: {
    readonly key: string;
    readonly initial: string;
    readonly output: string;
    readonly shape: readonly (number | string)[];
  }[] = [];
  const emptyVector = (): string => emit.constant("float32", [0], []);
  if (computesLogprobs) {
    carried.push({
      key: "logprobs",
      initial: emptyVector(),
      output: logprobsOut || emit.fresh("unused"),
      shape: ["chunk"],
    });
    carried.push({
      key: "lse",
      initial: emptyVector(),
      output: lseOut || emit.fresh("unused"),
      shape: ["chunk"],
    });
  }
  if (computesEntropy)
    carried.push({
      key: "entropy",
      initial: emptyVector(),
      output: entropyOut || emit.fresh("unused"),
      shape: ["chunk"],
    });
  if (dHiddenOut !== "")
    carried.push({
      key: "dHidden",
      initial: emit.constant("float32", [0, width], []),
      output: dHiddenOut,
      shape: ["chunk", width],
    });
  if (dWeightOut !== "") {
    const initial = emit.fresh("zeros");
    emit.node("Expand", [emit.constant("float32", [], [0]), emit.shape([vocabulary, width])], [initial]);
    carried.push({ key: "dWeight", initial, output: dWeightOut, shape: [vocabulary, width] });
  }

  const body = emit.subgraph((inner) => {
    const [trip, condition] = [inner.fresh("trip"), inner.fresh("condition")];
    const state = new Map(carried.map(({ key }) => [key, inner.fresh(key)]));
    const next = new Map<string, string>();
    const piece = (opType: string, from: readonly string[], attributes = {}, domain = ""): string => {
      const name = inner.fresh(opType);
      inner.node(opType, from, [name], attributes, domain);
      return name;
    };
    const append = (key: string, rowsOfKey: string): void => {
      if (state.has(key)) next.set(key, piece("Concat", [state.get(key)!, rowsOfKey], { axis: 0 }));
    };
    const at = piece("Mul", [piece("Unsqueeze", [trip, zero]), size]);
    const end = piece("Min", [piece("Add", [at, size]), rows]);
    const part = (whole: string): string => piece("Slice", [whole, at, end, zero]);
    const column = (vector: string): string => piece("Unsqueeze", [vector, one]);

    const hiddenPart = part(hidden);
    const target = column(part(targets));
    const logits = piece("FusedMatMul", [hiddenPart, w], { transB: 1 }, "com.microsoft");
    let lse: string;
    if (knownLse === undefined) {
      const logSoftmaxShift = piece("ReduceMax", [logits, one], { keepdims: 1 });
      const total = piece("ReduceSum", [piece("Exp", [piece("Sub", [logits, logSoftmaxShift])]), one], {
        keepdims: 1,
      });
      lse = piece("Add", [piece("Log", [total]), logSoftmaxShift]);
      const picked = piece("GatherElements", [logits, target], { axis: 1 });
      append("logprobs", piece("Squeeze", [piece("Sub", [picked, lse]), one]));
      append("lse", piece("Squeeze", [lse, one]));
      if (computesEntropy) {
        const logProbabilities = piece("Sub", [logits, lse]);
        const terms = piece("Mul", [piece("Exp", [logProbabilities]), logProbabilities]);
        append("entropy", piece("Neg", [piece("ReduceSum", [terms, one], { keepdims: 0 })]));
      }
    } else {
      lse = column(part(knownLse));
    }
    if (dlogprobs !== undefined) {
      const dTarget = column(part(dlogprobs));
      const logProbabilities = piece("Sub", [logits, lse]);
      const probabilities = piece("Exp", [logProbabilities]);
      let pull = dTarget;
      if (knownEntropy !== undefined) {
        const aboveMean = piece("Add", [logProbabilities, column(part(knownEntropy))]);
        pull = piece("Add", [dTarget, piece("Mul", [aboveMean, column(part(dentropy!))])]);
      }
      const dOthers = piece("Mul", [probabilities, piece("Neg", [pull])]);
      const dLogits = piece("ScatterElements", [dOthers, target, dTarget], { axis: 1, reduction: "add" });
      if (state.has("dHidden")) append("dHidden", piece("FusedMatMul", [dLogits, w], {}, "com.microsoft"));
      if (state.has("dWeight"))
        next.set("dWeight", piece("Gemm", [dLogits, hiddenPart, state.get("dWeight")!], { transA: 1 }));
    }
    const again = piece("Identity", [condition]);
    return {
      inputs: [
        { name: trip, dtype: "int64", shape: [] },
        { name: condition, dtype: "bool", shape: [] },
        ...carried.map(({ key }) => ({ name: state.get(key)!, dtype: "float32" as const, shape: null })),
      ],
      outputs: [
        { name: again, dtype: "bool", shape: [] },
        ...carried.map(({ key }) => ({ name: next.get(key)!, dtype: "float32" as const, shape: null })),
      ],
    };
  });
  emit.node(
    "Loop",
    [trips, emit.constant("bool", [], [1]), ...carried.map(({ initial }) => initial)],
    carried.map(({ output }) => output),
    { body },
  );
}

/** ⌈rows / chunk⌉ as an int64 scalar. */
function tripCount(emit: Emitter, rows: string, chunk: number): string {
  const [padded, count, scalar] = [emit.fresh("padded"), emit.fresh("count"), emit.fresh("trips")];
  emit.node("Add", [rows, emit.constant("int64", [1], [chunk - 1])], [padded]);
  emit.node("Div", [padded, emit.constant("int64", [1], [chunk])], [count]);
  emit.node("Squeeze", [count, emit.constant("int64", [1], [0])], [scalar]);
  return scalar;
}
