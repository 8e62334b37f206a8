/** A progress bar on a terminal, plain lines elsewhere: loss, tokens per second, time left. */
import { SingleBar } from "cli-progress";
import { formatDuration } from "./output.js";

export interface StepProgress {
  readonly step: number;
  readonly loss: number;
  readonly tokensPerSecond: number;
  readonly secondsLeft: number;
}

export interface Progress {
  update(progress: StepProgress): void;
  /** A line of its own, above the bar where there is one. */
  note(line: string): void;
  stop(): void;
}

export interface ProgressOptions {
  readonly totalSteps: number;
  /** Steps already done when this process began. */
  readonly startStep: number;
  readonly stream: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Milliseconds that only grow. */
  readonly now: () => number;
}

/** Without a terminal, a line at least this often, and at every twentieth of the way. */
const PLAIN_INTERVAL_MS = 10_000;

export function createProgress(options: ProgressOptions): Progress {
  return options.stream.isTTY === true ? createBar(options) : createPlainLines(options);
}

function createBar({ totalSteps, startStep, stream }: ProgressOptions): Progress {
  const bar = new SingleBar({
    stream,
    format: "{bar} {value}/{total}  loss {loss}  {rate} tokens/s  {left} left",
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    etaBuffer: 1,
  });
  bar.start(totalSteps, startStep, { loss: "–", rate: "–", left: "–" });
  return {
    update: (progress) => bar.update(progress.step, describe(progress)),
    note(line) {
      stream.write(`\r\u001b[K${line}\n`);
      bar.render();
    },
    stop: () => bar.stop(),
  };
}

function createPlainLines({ totalSteps, stream, now }: ProgressOptions): Progress {
  const stride = Math.max(1, Math.floor(totalSteps / 20));
  let lastLine = Number.NEGATIVE_INFINITY;
  return {
    update(progress) {
      const { step } = progress;
      const isDue = step % stride === 0 || step === totalSteps || now() - lastLine >= PLAIN_INTERVAL_MS;
      if (!isDue) return;
      lastLine = now();
      const { loss, rate, left } = describe(progress);
      stream.write(`step ${step}/${totalSteps}  loss ${loss}  ${rate} tokens/s  ${left} left\n`);
    },
    note: (line) => void stream.write(`${line}\n`),
    stop() {},
  };
}

function describe({
  loss,
  tokensPerSecond,
  secondsLeft,
}: StepProgress): Record<"loss" | "rate" | "left", string> {
  return {
    loss: loss.toFixed(4),
    rate: Math.round(tokensPerSecond).toLocaleString("en"),
    left: formatDuration(secondsLeft),
  };
}
