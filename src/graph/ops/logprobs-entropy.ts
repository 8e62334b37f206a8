/**
 * The logprobs of targets together with the entropy of the distributions they were outcomes of: one pass over the same
 * chunks of logits, so that asking for the entropy costs little. In a file of its own because supervised training has
 * no use for it.
 */
import { apply, applyAll, type Op, type ReferenceArray, shapeError, type Value } from "../graph.js";
import { sum } from "./broadcast.js";
import { add, exp, mul, neg, sub, zeros } from "./elementwise.js";
import { asColumn, pickColumns, SpreadColumns } from "./gather.js";
import { emitLogprobs, Logprobs, LogprobsGrad, readsFrozenHead, referenceLogits } from "./logprobs.js";
import { emitLogprobsLoop } from "./logprobs-loop.js";
import { matmul } from "./matmul.js";
import { reshape } from "./movement.js";
import { logSumExp } from "./softmax.js";

/** hidden [S, C], w [V, C], targets int64 [S] → logprobs [S], log-sum-exp of the logits [S], entropy [S], all in nats. */
export const LogprobsEntropy: Op<null> = {
  name: "logprobsEntropy",
  readsBfloat16: readsFrozenHead,
  types: (inputs) => {
    const [logprobs, lse] = Logprobs.types(inputs, null);
    return [logprobs!, lse!, lse!];
  },
  vjp: ({ inputs, outputs: [, lse, entropy], outputGrads: [dlogprobs, dlse, dentropy] }) => {
    if (dlse !== null) throw new Error("internal: the log-sum-exp of logprobs is not differentiable");
    const weights = dlogprobs ?? zeros(lse!.shape);
    const gradients =
      dentropy === null
        ? applyAll(LogprobsGrad, [...inputs, lse!, weights], null)
        : applyAll(LogprobsEntropyGrad, [...inputs, lse!, weights, entropy!, dentropy!], null);
    return [...gradients, null];
  },
  decompose: ([hidden, w, targets]) => {
    const logits = matmul(hidden!, w!, { transB: true });
    const lse = logSumExp(logits);
    const logProbabilities = sub(logits, lse);
    const rows = [hidden!.shape[0]!];
    const entropy = neg(sum(mul(exp(logProbabilities), logProbabilities), [-1]));
    return [pickColumns(logProbabilities, targets!), reshape(lse, rows), reshape(entropy, rows)];
  },
  lower: {
    cpu: (emit, node) => emitLogprobsLoop(emit, node),
    native: (emit, node) => emitLogprobs("Logprobs", emit, node),
  },
  reference: ([hidden, w, targets]) => {
    const [logprobs, lse] = Logprobs.reference([hidden!, w!, targets!], null, []);
    return [logprobs!, lse!, entropies(hidden!, w!, lse!)];
  },
};

/**
 * hidden, w, targets, lse, dlogprobs, entropy and dentropy [S] → dhidden [S, C], dw [V, C]. With p the probabilities and
 * H the entropy of a row,
 *
 *     dlogits = dlogprobs ∘ (onehot − p) − dentropy ∘ p ∘ (log p + H)
 */
export const LogprobsEntropyGrad: Op<null> = {
  name: "logprobsEntropyGrad",
  readsBfloat16: readsFrozenHead,
  types: (inputs) => {
    if (inputs.slice(3).some(({ shape }) => shape.length !== 1 || shape[0] !== inputs[0]!.shape[0]))
      throw shapeError("logprobsEntropyGrad", "expected one number for each row of hidden", inputs);
    return LogprobsGrad.types(inputs, null);
  },
  decompose: ([hidden, w, targets, lse, dlogprobs, entropy, dentropy]) => {
    const logProbabilities = sub(matmul(hidden!, w!, { transB: true }), asColumn(lse!));
    const picked = apply(SpreadColumns, [targets!, dlogprobs!], { columns: w!.shape[0]! });
    const pull = add(
      asColumn(dlogprobs!),
      mul(add(logProbabilities, asColumn(entropy!)), asColumn(dentropy!)),
    );
    const dLogits = sub(picked, mul(exp(logProbabilities), pull));
    return [matmul(dLogits, w!), matmul(dLogits, hidden!, { transA: true })];
  },
  lower: {
    cpu: (emit, node) => emitLogprobsLoop(emit, node),
    native: (emit, node) => emitLogprobs("LogprobsGrad", emit, node),
  },
  reference: ([hidden, w, targets, lse, dlogprobs, entropy, dentropy]) => {
    const [dHidden, dWeight] = LogprobsGrad.reference([hidden!, w!, targets!, lse!, dlogprobs!], null, []);
    const width = hidden!.shape[1]!;
    referenceLogits(hidden!, w!).forEach((row, s) => {
      row.forEach((logit, token) => {
        const logProbability = logit - lse!.data[s]!;
        const dLogit = -dentropy!.data[s]! * Math.exp(logProbability) * (logProbability + entropy!.data[s]!);
        for (let c = 0; c < width; c++) {
          dHidden![s * width + c]! += dLogit * w!.data[token * width + c]!;
          dWeight![token * width + c]! += dLogit * hidden!.data[s * width + c]!;
        }
      });
    });
    return [dHidden!, dWeight!];
  },
};

function entropies(hidden: ReferenceArray, w: ReferenceArray, lse: Float64Array): Float64Array {
  return Float64Array.from(referenceLogits(hidden, w), (row, s) =>
    row.reduce((total, logit) => total - Math.exp(logit - lse[s]!) * (logit - lse[s]!), 0),
  );
}

/** Logprobs [S] of `targets` under softmax(hidden · wᵀ), and the entropy [S] of that distribution. */
export function logprobsEntropy(
  hidden: Value,
  w: Value,
  targets: Value,
): { readonly logprobs: Value; readonly entropy: Value } {
  const [logprobs, , entropy] = applyAll(LogprobsEntropy, [hidden, w, targets], null);
  return { logprobs: logprobs!, entropy: entropy! };
}
