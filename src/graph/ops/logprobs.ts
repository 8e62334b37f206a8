/**
 * Log-probabilities of target tokens straight from hidden states: vocabulary projection, log-softmax and the pick in
 * one op, in chunks of rows, because [S, V] logits are the largest thing a small model would ever hold.
 */
import {
  apply,
  applyAll,
  type Emitter,
  type Node,
  type Op,
  type ReferenceArray,
  shapeError,
  type TypedNode,
  type Value,
} from "../graph.js";
import { add, exp, mul, neg, sub } from "./elementwise.js";
import { asColumn, pickColumns, SpreadColumns } from "./gather.js";
import { emitLogprobsLoop } from "./logprobs-loop.js";
import { matmul } from "./matmul.js";
import { reshape } from "./movement.js";
import { logSumExp } from "./softmax.js";

const f32 = (shape: Value["shape"]) => ({ shape, dtype: "float32" as const });

/** hidden [S, C], w [V, C], targets int64 [S] → logprobs [S] in nats, log-sum-exp of the logits [S]. */
export const Logprobs: Op<null> = {
  name: "logprobs",
  readsBfloat16: readsFrozenHead,
  types: (inputs) => {
    const [hidden, w, targets] = inputs;
    if (
      hidden!.shape[1] !== w!.shape[1] ||
      targets!.dtype !== "int64" ||
      targets!.shape[0] !== hidden!.shape[0]
    ) {
      throw shapeError("logprobs", "expected hidden [S, C], weight [V, C] and int64 targets [S]", inputs);
    }
    return [f32([hidden!.shape[0]!]), f32([hidden!.shape[0]!])];
  },
  vjp: ({ inputs, outputs: [, lse], outputGrads: [dlogprobs, dlse] }) => {
    if (dlse !== null) throw new Error("internal: the log-sum-exp of logprobs is not differentiable");
    return [...applyAll(LogprobsGrad, [...inputs, lse!, dlogprobs!], null), null];
  },
  decompose: ([hidden, w, targets]) => {
    const logits = matmul(hidden!, w!, { transB: true });
    const lse = reshape(logSumExp(logits), [hidden!.shape[0]!]);
    return [sub(pickColumns(logits, targets!), lse), lse];
  },
  lower: {
    cpu: (emit, node) => emitLogprobsLoop(emit, node),
    native: (emit, node) => emitLogprobs("Logprobs", emit, node),
  },
  reference: ([hidden, w, targets]) => {
    const logits = referenceLogits(hidden!, w!);
    const lse = Float64Array.from(logits, logSum);
    return [Float64Array.from(logits, (row, s) => row[targets!.data[s]!]! - lse[s]!), lse];
  },
};

/** hidden, w, targets, lse and dlogprobs [S] → dhidden [S, C], dw [V, C], where dlogits = dlogprobs ∘ (onehot − softmax). */
export const LogprobsGrad: Op<null> = {
  name: "logprobsGrad",
  readsBfloat16: readsFrozenHead,
  types: ([hidden, w]) => [f32(hidden!.shape), f32(w!.shape)],
  decompose: ([hidden, w, targets, lse, dlogprobs]) =>
    logprobsGradients(hidden!, w!, targets!, lse!, dlogprobs!),
  lower: {
    cpu: (emit, node) => emitLogprobsLoop(emit, node),
    native: (emit, node) => emitLogprobs("LogprobsGrad", emit, node),
  },
  reference: ([hidden, w, targets, lse, dlogprobs]) => {
    const [S, C] = hidden!.shape as [number, number];
    const dHidden = new Float64Array(S * C);
    const dWeight = new Float64Array(w!.data.length);
    referenceLogits(hidden!, w!).forEach((row, s) => {
      row.forEach((logit, token) => {
        const dLogit =
          dlogprobs!.data[s]! * (Number(token === targets!.data[s]) - Math.exp(logit - lse!.data[s]!));
        for (let c = 0; c < C; c++) {
          dHidden[s * C + c]! += dLogit * w!.data[token * C + c]!;
          dWeight[token * C + c]! += dLogit * hidden!.data[s * C + c]!;
        }
      });
    });
    return [dHidden, dWeight];
  },
};

/**
 * Both at once for dlogprobs [S] known beforehand, as in supervised training: hidden, w, targets, dlogprobs →
 * logprobs, lse, dhidden, dw. Saves computing the logits a second time.
 */
export const LogprobsWithGrad: Op<null> = {
  name: "logprobsWithGrad",
  readsBfloat16: readsFrozenHead,
  types: ([hidden, w]) => [
    f32([hidden!.shape[0]!]),
    f32([hidden!.shape[0]!]),
    f32(hidden!.shape),
    f32(w!.shape),
  ],
  decompose: ([hidden, w, targets, dlogprobs]) => {
    const [logprobs, lse] = Logprobs.decompose!([hidden!, w!, targets!], null) as [Value, Value];
    return [logprobs, lse, ...logprobsGradients(hidden!, w!, targets!, lse, dlogprobs!)];
  },
  lower: {
    cpu: (emit, node) => emitLogprobsLoop(emit, node),
    native: (emit, node) => emitLogprobs("LogprobsWithGrad", emit, node),
  },
  reference: ([hidden, w, targets, dlogprobs], _attributes, shapes) => {
    const [logprobs, lse] = Logprobs.reference([hidden!, w!, targets!], null, []) as [
      Float64Array,
      Float64Array,
    ];
    const lseArray = { shape: shapes[1]!, data: lse };
    return [
      logprobs,
      lse,
      ...LogprobsGrad.reference([hidden!, w!, targets!, lseArray, dlogprobs!], null, []),
    ];
  },
};

function logprobsGradients(
  hidden: Value,
  w: Value,
  targets: Value,
  lse: Value,
  dlogprobs: Value,
): [Value, Value] {
  const probabilities = exp(sub(matmul(hidden, w, { transB: true }), asColumn(lse)));
  const picked = apply(SpreadColumns, [targets, dlogprobs], { columns: w.shape[0]! });
  const dLogits = add(picked, neg(mul(probabilities, asColumn(dlogprobs))));
  return [matmul(dLogits, w), matmul(dLogits, hidden, { transA: true })];
}

/** The weight may stay in bf16 where it is frozen, which shows in that nobody wants its gradient. */
export function readsFrozenHead(node: Node, input: number, isUsed: (output: Value) => boolean): boolean {
  return input === 1 && !node.outputs.some((output) => isWeightGradient(output) && isUsed(output));
}

/** The gradients of an op, if it gives any, stand last: the hidden states', then the weight's. */
function isWeightGradient({ node, index, shape }: Value): boolean {
  return shape.length === 2 && index === node.outputs.length - 1;
}

/** Only the weight's gradient may be left out: it is the one that is large and, for adapters, unwanted. */
export function emitLogprobs(opType: string, emit: Emitter, { inputs, outputs }: TypedNode<null>): void {
  const bits = emit.bfloat16(inputs[1]!);
  const names = inputs.map((value, i) => (i === 1 && bits !== null ? bits : emit.name(value)));
  const results = outputs
    .filter((output) => bits === null || !isWeightGradient(output))
    .map((output) => emit.name(output) || (isWeightGradient(output) ? "" : emit.fresh("unused")));
  emit.node(bits === null ? opType : `${opType}Bf16`, names, results, {}, "hone");
}

export function referenceLogits(hidden: ReferenceArray, w: ReferenceArray): Float64Array[] {
  const [S, C] = hidden.shape as [number, number];
  return Array.from({ length: S }, (_, s) =>
    Float64Array.from({ length: w.shape[0]! }, (_, token) => {
      let logit = 0;
      for (let c = 0; c < C; c++) logit += hidden.data[s * C + c]! * w.data[token * C + c]!;
      return logit;
    }),
  );
}

function logSum(row: Float64Array): number {
  const shift = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  return shift + Math.log(row.reduce((total, logit) => total + Math.exp(logit - shift), 0));
}

/** Logprobs [S] of `targets` under softmax(hidden · wᵀ). */
export function logprobs(hidden: Value, w: Value, targets: Value): Value {
  return applyAll(Logprobs, [hidden, w, targets], null)[0]!;
}
