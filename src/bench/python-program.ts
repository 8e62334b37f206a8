/** A Python program run afresh for every turn, from starting the interpreter to its end: what a user waits for. */
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { z } from "zod";
import type { ClosableContender } from "./bench-context.js";

const Answer = z.looseObject({ peer: z.string() });

/** The program's last line of output is a JSON object that names it as `peer`. */
export async function pythonProgram(
  python: string,
  script: string,
  scriptArguments: readonly string[],
): Promise<ClosableContender> {
  const run = async (): Promise<string> => {
    const { stdout } = await promisify(execFile)(python, [script, ...scriptArguments], {
      maxBuffer: 1 << 24,
    });
    return Answer.parse(JSON.parse(stdout.trim().split("\n").at(-1)!)).peer;
  };
  return {
    // A first run, not counted, also brings the libraries into the file cache.
    name: await run(),
    pids: [process.pid],
    seconds: async () => {
      const start = performance.now();
      await run();
      return (performance.now() - start) / 1000;
    },
    close: async () => undefined,
  };
}
