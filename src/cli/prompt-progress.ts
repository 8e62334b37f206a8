/** Progress over many prompts, on standard error: a bar on a terminal, a line now and then elsewhere. */
import { SingleBar } from "cli-progress";
import { formatDuration } from "./output.js";

export interface PromptProgress {
  /** A prompt is done; its completions have this many tokens. */
  add(tokens: number): void;
  stop(): void;
}

const PLAIN_INTERVAL_MS = 10_000;

export function createPromptProgress(
  total: number,
  stream: NodeJS.WritableStream & { readonly isTTY?: boolean },
  now: () => number = () => performance.now(),
): PromptProgress {
  const start = now();
  let [done, tokens, lastLine] = [0, 0, start];
  const describe = (): { rate: string; left: string } => {
    const seconds = (now() - start) / 1000;
    return {
      rate: Math.round(tokens / Math.max(seconds, 1e-9)).toLocaleString("en"),
      left: formatDuration((seconds / Math.max(done, 1)) * (total - done)),
    };
  };
  const bar =
    stream.isTTY === true
      ? new SingleBar({
          stream,
          format: "{bar} {value}/{total} prompts  {rate} tokens/s  {left} left",
          barCompleteChar: "█",
          barIncompleteChar: "░",
          hideCursor: true,
          clearOnComplete: true,
        })
      : undefined;
  bar?.start(total, 0, { rate: "–", left: "–" });
  return {
    add(count) {
      done++;
      tokens += count;
      if (bar !== undefined) bar.update(done, describe());
      else if (now() - lastLine >= PLAIN_INTERVAL_MS) {
        lastLine = now();
        const { rate, left } = describe();
        stream.write(`${done}/${total} prompts  ${rate} tokens/s  ${left} left\n`);
      }
    },
    stop: () => bar?.stop(),
  };
}
