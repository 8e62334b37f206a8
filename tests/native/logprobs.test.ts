/** The kernels of the language-model head against log-softmax written out in float64. */
import { describe, expect, it } from "vitest";
import { Random } from "../../src/base/index.js";
import { missing, openKernels } from "./library.js";
import { bf16Of, expectClose, normals, widened } from "./numbers.js";

interface Head {
  readonly rows: number;
  readonly width: number;
  readonly vocab: number;
  readonly hidden: Float32Array;
  readonly w: Float32Array;
  readonly targets: BigInt64Array;
  readonly dLogprobs: Float32Array;
  readonly dEntropy: Float32Array;
}

function headOf(rows: number, width: number, vocab: number): Head {
  const random = new Random(rows * 7 + vocab);
  const targets = BigInt64Array.from({ length: rows }, () => BigInt(random.integer(vocab)));
  targets[0] = BigInt(vocab - 1); // the last column is in the last, shorter block
  const [dLogprobs, dEntropy] = [normals(random, rows), normals(random, rows)];
  dLogprobs[rows - 1] = 0;
  // A wide spread, so that the running maximum changes from block to block.
  const w = normals(random, vocab * width).map((x, i) => x * (1 + i / (vocab * width)));
  return { rows, width, vocab, hidden: normals(random, rows * width), w, targets, dLogprobs, dEntropy };
}

/** The formulas of the head; the derivative is checked below by differences of `logprobs`. */
function referenceHead({ rows, width, vocab, w, targets, dLogprobs, dEntropy }: Head, hidden: Float64Array) {
  const logprobs = new Float64Array(rows);
  const entropy = new Float64Array(rows);
  const dHiddenEntropy = new Float64Array(rows * width);
  const dwEntropy = new Float64Array(vocab * width);
  const lse = new Float64Array(rows);
  const dHidden = new Float64Array(rows * width);
  const dw = new Float64Array(vocab * width);
  const logits = new Float64Array(vocab);
  for (let s = 0; s < rows; s++) {
    let most = Number.NEGATIVE_INFINITY;
    for (let n = 0; n < vocab; n++) {
      let sum = 0;
      for (let c = 0; c < width; c++) sum += hidden[s * width + c]! * w[n * width + c]!;
      logits[n] = sum;
      most = Math.max(most, sum);
    }
    let total = 0;
    for (let n = 0; n < vocab; n++) total += Math.exp(logits[n]! - most);
    lse[s] = most + Math.log(total);
    for (let n = 0; n < vocab; n++) entropy[s]! -= Math.exp(logits[n]! - lse[s]!) * (logits[n]! - lse[s]!);
    const target = Number(targets[s]);
    logprobs[s] = logits[target]! - lse[s]!;
    for (let n = 0; n < vocab; n++) {
      const d = dLogprobs[s]! * ((n === target ? 1 : 0) - Math.exp(logits[n]! - lse[s]!));
      const logProbability = logits[n]! - lse[s]!;
      const both = d - dEntropy[s]! * Math.exp(logProbability) * (logProbability + entropy[s]!);
      for (let c = 0; c < width; c++) {
        dHidden[s * width + c]! += d * w[n * width + c]!;
        dw[n * width + c]! += d * hidden[s * width + c]!;
        dHiddenEntropy[s * width + c]! += both * w[n * width + c]!;
        dwEntropy[n * width + c]! += both * hidden[s * width + c]!;
      }
    }
  }
  return { logprobs, lse, entropy, dHidden, dw, dHiddenEntropy, dwEntropy };
}

describe.skipIf(missing !== undefined)(
  `logprobs kernels${missing === undefined ? "" : ` (skipped: ${missing})`}`,
  () => {
    const kernels = missing === undefined ? openKernels() : undefined!;

    function runAll(head: Head) {
      const { rows, width, vocab, hidden, w, targets, dLogprobs } = head;
      const sizes = [rows, width, vocab, hidden, w, targets] as const;
      const outputs = () => ({
        logprobs: new Float32Array(rows),
        lse: new Float32Array(rows),
        dHidden: new Float32Array(rows * width),
        dw: new Float32Array(vocab * width),
      });
      const [twice, once, frozen] = [outputs(), outputs(), outputs()];
      kernels.run("logprobs", ...sizes, twice.logprobs, twice.lse, null);
      kernels.run("logprobs_grad", ...sizes, twice.lse, dLogprobs, null, null, twice.dHidden, twice.dw);
      kernels.run("logprobs_with_grad", ...sizes, dLogprobs, once.logprobs, once.lse, once.dHidden, once.dw);
      kernels.run(
        "logprobs_with_grad",
        ...sizes,
        dLogprobs,
        frozen.logprobs,
        frozen.lse,
        frozen.dHidden,
        null,
      );
      const frozenTwice = new Float32Array(rows * width);
      kernels.run("logprobs_grad", ...sizes, twice.lse, dLogprobs, null, null, frozenTwice, null);
      expect(frozenTwice).toEqual(twice.dHidden);
      return { twice, once, frozen };
    }

    function runBf16(head: Head, w: Uint16Array) {
      const { rows, width, vocab, hidden, targets, dLogprobs } = head;
      const sizes = [rows, width, vocab, hidden, w, targets] as const;
      const outputs = () => ({
        logprobs: new Float32Array(rows),
        lse: new Float32Array(rows),
        dHidden: new Float32Array(rows * width),
      });
      const [twice, once] = [outputs(), outputs()];
      kernels.run("logprobs_bf16", ...sizes, twice.logprobs, twice.lse, null);
      kernels.run("logprobs_grad_bf16", ...sizes, twice.lse, dLogprobs, null, null, twice.dHidden);
      kernels.run("logprobs_with_grad_bf16", ...sizes, dLogprobs, once.logprobs, once.lse, once.dHidden);
      return { twice, once };
    }

    it.each([
      [7, 24, 50],
      [40, 70, 900],
      [130, 5, 40_001],
      [257, 4, 33_000],
    ])(
      "with w in bf16, logprobs() and the gradient of %i rows of %i over %i tokens are float64's",
      (...shape) => {
        const drawn = headOf(...shape);
        const w = bf16Of(drawn.w);
        const head = { ...drawn, w: widened(w) };
        const expected = referenceHead(head, Float64Array.from(head.hidden));
        for (const { isa, name } of kernels.isas) {
          if (isa === 0 && shape[0] * shape[2] > 4e6) continue; // too slow for a fast test without vectors
          kernels.limit(isa);
          for (const [form, actual] of Object.entries(runBf16(head, w))) {
            expectClose(`logprobs (${name}, ${form})`, actual.logprobs, expected.logprobs, 1e-6);
            expectClose(`lse (${name}, ${form})`, actual.lse, expected.lse, 1e-6);
            expectClose(`dHidden (${name}, ${form})`, actual.dHidden, expected.dHidden, 3e-6);
          }
        }
        kernels.limit(-1);
        kernels.threads(1);
        const one = runBf16(head, w);
        kernels.threads(3);
        expect(runBf16(head, w)).toEqual(one);
        kernels.threads(2);
      },
    );

    // One block; several blocks of the vocabulary; several chunks of rows; so many tokens that with_grad goes twice.
    it.each([
      [7, 24, 50],
      [130, 4, 40_001],
      [4_100, 4, 300],
      [257, 4, 33_000],
    ])(
      "logprobs() and both gradients of %i rows of %i over %i tokens are float64's",
      (rows, width, vocab) => {
        const head = headOf(rows, width, vocab);
        const expected = referenceHead(head, Float64Array.from(head.hidden));
        for (const { isa, name } of kernels.isas) {
          if (isa === 0 && rows * vocab > 4e6) continue; // too slow for a fast test without vectors
          kernels.limit(isa);
          for (const [form, actual] of Object.entries(runAll(head))) {
            expectClose(`logprobs (${name}, ${form})`, actual.logprobs, expected.logprobs, 1e-6);
            expectClose(`lse (${name}, ${form})`, actual.lse, expected.lse, 1e-6);
            expectClose(`dHidden (${name}, ${form})`, actual.dHidden, expected.dHidden, 3e-6);
            if (form !== "frozen") expectClose(`dw (${name}, ${form})`, actual.dw, expected.dw, 3e-6);
          }
        }
      },
    );

    // One block, and several, so that the running maximum moves between them.
    it.each([
      [7, 24, 50],
      [130, 4, 40_001],
    ])("the entropy of %i rows of %i over %i tokens and its gradient are float64's", (...shape) => {
      const drawn = headOf(...shape);
      const bits = bf16Of(drawn.w);
      const head = { ...drawn, w: widened(bits) };
      const { rows, width, vocab, hidden, w, targets, dLogprobs, dEntropy } = head;
      const expected = referenceHead(head, Float64Array.from(hidden));
      for (const { isa, name } of kernels.isas) {
        if (isa === 0 && rows * vocab > 4e6) continue; // too slow for a fast test without vectors
        kernels.limit(isa);
        for (const [form, matrix] of [
          ["", w],
          ["_bf16", bits],
        ] as const) {
          const sizes = [rows, width, vocab, hidden, matrix, targets] as const;
          const [logprobs, lse, entropy] = [rows, rows, rows].map((size) => new Float32Array(size));
          kernels.run(`logprobs${form}`, ...sizes, logprobs!, lse!, entropy!);
          expectClose(`logprobs (${name}${form})`, logprobs!, expected.logprobs, 1e-6);
          expectClose(`lse (${name}${form})`, lse!, expected.lse, 1e-6);
          expectClose(`entropy (${name}${form})`, entropy!, expected.entropy, 2e-6);
          const [dHidden, dw] = [new Float32Array(rows * width), new Float32Array(vocab * width)];
          const outputs = form === "" ? [dHidden, dw] : [dHidden];
          kernels.run(`logprobs_grad${form}`, ...sizes, lse!, dLogprobs, entropy!, dEntropy, ...outputs);
          expectClose(`dHidden (${name}${form})`, dHidden, expected.dHiddenEntropy, 3e-6);
          if (form === "") expectClose(`dw (${name})`, dw, expected.dwEntropy, 3e-6);
        }
      }
      kernels.limit(-1);
    });

    it("the reference's own gradient is the derivative of its logprobs", () => {
      const head = headOf(3, 5, 11);
      const hidden = Float64Array.from(head.hidden);
      const { dHidden, dHiddenEntropy } = referenceHead(head, hidden);
      const loss = (x: Float64Array): number =>
        referenceHead(head, x).logprobs.reduce((sum, logprob, s) => sum + logprob * head.dLogprobs[s]!, 0);
      const withEntropy = (x: Float64Array): number =>
        loss(x) +
        referenceHead(head, x).entropy.reduce((sum, value, s) => sum + value * head.dEntropy[s]!, 0);
      const slopesOf = (f: (x: Float64Array) => number): Float64Array =>
        hidden.map((_, i) => {
          const [up, down] = [1e-5, -1e-5].map((step) => hidden.map((x, j) => (i === j ? x + step : x)));
          return (f(up!) - f(down!)) / 2e-5;
        });
      expectClose("dHidden", dHidden, slopesOf(loss), 1e-8);
      expectClose("dHidden with entropy", dHiddenEntropy, slopesOf(withEntropy), 1e-8);
    });

    it("logprobs kernels give the same bits for one thread and for three", () => {
      const head = headOf(100, 16, 3000);
      kernels.limit(-1);
      kernels.threads(1);
      const one = runAll(head);
      kernels.threads(3);
      expect(runAll(head)).toEqual(one);
      kernels.threads(2);
    });

    it("logprobs() refuses a target outside the vocabulary", () => {
      const head = headOf(2, 4, 5);
      const status = (target: bigint): number =>
        kernels.status(
          "logprobs",
          2,
          4,
          5,
          head.hidden,
          head.w,
          BigInt64Array.of(0n, target),
          new Float32Array(2),
          new Float32Array(2),
          null,
        );
      expect([status(4n), status(5n), status(-1n)]).toEqual([0, 3, 3]);
    });
  },
);
