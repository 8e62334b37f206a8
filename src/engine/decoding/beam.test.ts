import { expect, it } from "vitest";
import { Random } from "../../base/index.js";
import { type BeamOptions, type BeamState, firstBeams, nextBeams } from "./beam.js";

/** A model whose logits are a function of the tokens so far. */
type Model = (tokens: readonly number[]) => Float32Array;

function search(model: Model, options: BeamOptions): { readonly state: BeamState; readonly steps: number } {
  let state = firstBeams();
  let steps = 0;
  while (state.live.length > 0) {
    state = nextBeams(
      state,
      state.live.map(({ tokens }) => model(tokens)),
      options,
    );
    steps++;
  }
  return { state, steps };
}

/** Every prefix has random logits of its own. */
const randomModel =
  (seed: number, size: number): Model =>
  (tokens) => {
    const random = new Random(seed).fork(tokens.join());
    return Float32Array.from({ length: size }, () => 2 * random.normal());
  };

const logSoftmax = (logits: Float32Array): number[] => {
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  return Array.from(logits, (logit) => logit - total);
};

/** All sequences that end with token 0 or have `length` tokens, best first. */
function everySequence(model: Model, length: number, lengthPenalty: number) {
  const done: { tokens: number[]; score: number }[] = [];
  const grow = (tokens: number[], score: number): void => {
    for (const [token, logprob] of logSoftmax(model(tokens)).entries()) {
      const next = [...tokens, token];
      const sum = score + logprob;
      if (token === 0 || next.length === length)
        done.push({ tokens: next, score: sum / next.length ** lengthPenalty });
      else grow(next, sum);
    }
  };
  grow([], 0);
  return done.sort((a, b) => b.score - a.score);
}

it("with as many beams as there are prefixes it finds the best sequences of all", () => {
  for (const lengthPenalty of [0, 1, 2]) {
    for (let seed = 0; seed < 10; seed++) {
      const model = randomModel(seed, 4);
      const options = { numBeams: 40, maxTokens: 4, stopTokens: [0], lengthPenalty };
      const { state } = search(model, { ...options, earlyStopping: "never" });
      const best = everySequence(model, 4, lengthPenalty).slice(0, 40);
      expect(state.finished.map(({ tokens }) => tokens)).toEqual(best.map(({ tokens }) => tokens));
      for (const [i, { score, tokens, stopReason, logprobs }] of state.finished.entries()) {
        expect(score).toBeCloseTo(best[i]!.score, 6);
        expect(stopReason).toBe(tokens.at(-1) === 0 ? "stop" : "length");
        expect(logprobs.reduce((sum, x) => sum + x, 0) / tokens.length ** lengthPenalty).toBeCloseTo(
          score,
          9,
        );
      }
    }
  }
});

it("one beam is greedy decoding that ends at its stop token", () => {
  const model = randomModel(3, 12);
  const greedy: number[] = [];
  while (greedy.length < 30 && greedy.at(-1) !== 5) {
    const logits = model(greedy);
    greedy.push(logits.indexOf(Math.max(...logits)));
  }
  const { state } = search(model, { numBeams: 1, maxTokens: 30, stopTokens: [5], earlyStopping: true });
  // The greedy sequence, unless a stop token was the best earlier: then it would have been taken.
  expect(state.finished[0]!.tokens).toEqual(greedy);
});

it("finds what greedy decoding misses, worked by hand", () => {
  // Token 1 first looks better (0.6 against 0.4), but token 2 is followed by token 1 with certainty.
  const table: Record<string, readonly number[]> = {
    "": [0, 0.6, 0.4],
    "1": [0, 0.5, 0.5],
    "2": [0, 1, 0],
  };
  const model: Model = (tokens) => Float32Array.from(table[tokens.join()]!, Math.log);
  const { state } = search(model, { numBeams: 2, maxTokens: 2, stopTokens: [0], lengthPenalty: 0 });
  expect(state.finished.map(({ tokens }) => tokens)).toEqual([
    [2, 1],
    [1, 1],
  ]);
  expect(state.finished.map(({ score }) => Math.exp(score))).toEqual([
    expect.closeTo(0.4, 6),
    expect.closeTo(0.3, 6),
  ]);
});

it("parents name the live beam that each beam continues", () => {
  const model = randomModel(8, 6);
  const options = { numBeams: 3, maxTokens: 6, stopTokens: [0] };
  let state = firstBeams();
  for (let step = 0; step < 4; step++) {
    const before = state.live;
    state = nextBeams(
      state,
      before.map(({ tokens }) => model(tokens)),
      options,
    );
    for (const { tokens, parent } of state.live) expect(tokens.slice(0, -1)).toEqual(before[parent]!.tokens);
  }
  expect(state.live.length).toBe(3);
});

it("early stopping ends the search sooner, and a stop string ends a beam", () => {
  const model = randomModel(21, 8);
  const options = { numBeams: 2, maxTokens: 12, stopTokens: [0, 3] };
  const early = search(model, { ...options, earlyStopping: true });
  const never = search(model, { ...options, earlyStopping: "never", lengthPenalty: 2 });
  expect(early.steps).toBeLessThan(never.steps);
  expect(early.state.finished.length).toBe(2);
  const isStop = (tokens: readonly number[]): boolean => tokens.at(-1) === 4 && tokens.at(-2) === 4;
  const { state } = search((tokens) => Float32Array.of(0, 0, 0, 0, tokens.length < 3 ? 9 : 0), {
    ...options,
    stopTokens: [],
    isStop,
  });
  expect(state.finished[0]).toMatchObject({ tokens: [4, 4], stopReason: "stop" });
  expect(() => nextBeams(firstBeams(), [], options)).toThrow(
    "Cannot extend 1 beams: 0 rows of logits, expected one for each",
  );
});
