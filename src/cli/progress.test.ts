import { Writable } from "node:stream";
import { expect, it } from "vitest";
import { createProgress } from "./progress.js";

function sink(isTTY: boolean) {
  const written: string[] = [];
  const stream = Object.assign(
    new Writable({
      write(chunk, _, done) {
        written.push(String(chunk));
        done();
      },
    }),
    { isTTY, cursorTo: () => {}, clearLine: () => {} },
  );
  return { stream, written };
}

const at = (step: number) => ({ step, loss: 1 / step, tokensPerSecond: 12_345.6, secondsLeft: 200 - step });

it("createProgress() without a terminal writes a line at every twentieth of the way and at the end", () => {
  const { stream, written } = sink(false);
  const progress = createProgress({ totalSteps: 41, startStep: 0, stream, now: () => 0 });
  for (let step = 1; step <= 41; step++) progress.update(at(step));
  const steps = written.map((line) => Number(/step (\d+)/.exec(line)![1]));
  // The first step writes because nothing was written before, then every ⌊41/20⌋ = 2 steps, then the last.
  expect(steps).toEqual([1, ...Array.from({ length: 20 }, (_, i) => 2 * (i + 1)), 41]);
  expect(written.at(-1)).toBe("step 41/41  loss 0.0244  12,346 tokens/s  2 min 39 s left\n");
});

it("createProgress() without a terminal writes a line after 10 s even when no twentieth is done", () => {
  const { stream, written } = sink(false);
  let now = 0;
  const progress = createProgress({ totalSteps: 10_000, startStep: 0, stream, now: () => now });
  for (const [step, time] of [[1, 0] as const, [2, 9_999] as const, [3, 10_000] as const]) {
    now = time;
    progress.update(at(step));
  }
  expect(written.map((line) => /step (\d+)/.exec(line)![1])).toEqual(["1", "3"]);
});

it("createProgress() on a terminal draws loss, rate and time left, and keeps notes on lines of their own", () => {
  const { stream, written } = sink(true);
  const progress = createProgress({ totalSteps: 10, startStep: 4, stream, now: () => 0 });
  progress.update(at(5));
  progress.note("step 5: validation loss 0.1000");
  progress.stop();
  const text = written.join("");
  expect(text).toContain("4/10  loss –  – tokens/s  – left");
  expect(text).toContain("5/10  loss 0.2000  12,346 tokens/s  3 min 15 s left");
  expect(text).toContain("\u001b[Kstep 5: validation loss 0.1000\n");
});
