/**
 * A peer written in Python that stays alive between turns. It is asked line by line and answers in JSON lines:
 * first, unasked, `{"peer": "torch 2.13.0+cpu, MKL"}`; then `{"seconds": x, "peakBytes": y}` to every "step".
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { z } from "zod";
import { messageOf } from "../base/index.js";
import type { Contender } from "./measure-in-turn.js";

export interface PythonPeer extends Contender {
  /** The peer's largest resident size, as of its last answer. */
  peakBytes(): number;
  close(): Promise<void>;
}

const Hello = z.looseObject({ peer: z.string() });
const Answer = z.looseObject({ seconds: z.number().positive(), peakBytes: z.number().positive() });

/** The Python that has the peers, or null: then benchmarks give our own figures alone. */
export function peerPython(): string | null {
  const python = process.env["HONE_PEER_PYTHON"];
  return python === undefined || python === "" ? null : python;
}

/** Starts a script and waits until it is ready. @throws with the script's own last words when it ends instead. */
export async function startPythonPeer(
  python: string,
  script: string,
  scriptArguments: readonly string[],
): Promise<PythonPeer> {
  const child = spawn(python, [script, ...scriptArguments], { stdio: ["pipe", "pipe", "pipe"] });
  const errors: string[] = [];
  child.stderr.setEncoding("utf8").on("data", (text: string) => errors.push(text));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ended = new Promise<never>((_, reject) => {
    const fail = (how: string) =>
      reject(new Error(`Cannot measure peer ${script}: it ${how}\n${errors.join("").slice(-2000)}`));
    child.once("error", (error) => fail(`did not start: ${messageOf(error)}`));
    child.once("close", (code, signal) => fail(`ended with ${signal ?? `exit code ${code}`}`));
  });
  ended.catch(() => undefined); // the reason is read by whoever waits for a line
  const nextObject = async (): Promise<unknown> => {
    for (;;) {
      const { value, done } = await Promise.race([lines.next(), ended]);
      if (done === true) return await ended;
      // Libraries print to standard output as well, trl even Python's own dictionaries.
      if (value.startsWith('{"')) return JSON.parse(value);
    }
  };
  try {
    const { peer } = Hello.parse(await nextObject());
    let peakBytes = 0;
    return {
      name: peer,
      pids: child.pid === undefined ? [] : [child.pid],
      seconds: async () => {
        child.stdin.write("step\n");
        const answer = Answer.parse(await nextObject());
        peakBytes = answer.peakBytes;
        return answer.seconds;
      },
      peakBytes: () => peakBytes,
      close: () => endChild(child),
    };
  } catch (thrown) {
    await endChild(child);
    throw thrown;
  }
}

async function endChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const closed = new Promise<void>((resolve) => child.once("close", () => resolve()));
  child.stdin?.end();
  const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
  await closed;
  clearTimeout(timer);
}
