/** Times several contenders fairly: in turn within one run, so that a slow minute of the machine hits all of them. */
import { setTimeout as sleep } from "node:timers/promises";
import { median, quantile } from "../base/index.js";
import { machineCpuSeconds, processCpuSeconds } from "./machine.js";

/** One side of a comparison. */
export interface Contender {
  readonly name: string;
  /** Processes that do its work, so that their load is not mistaken for somebody else's. */
  readonly pids: readonly number[];
  /** Does the work once and answers how long it took. */
  seconds(): Promise<number>;
}

export interface Timing {
  readonly name: string;
  /** Median, tenth and ninetieth percentile over the repeats. */
  readonly seconds: number;
  readonly p10: number;
  readonly p90: number;
}

export interface TurnResult {
  /** In the order of the contenders. */
  readonly timings: readonly Timing[];
  /** Cores that processes other than the contenders kept busy meanwhile, on average; null without /proc. */
  readonly foreignCores: number | null;
}

export interface TurnOptions {
  readonly warmUps?: number;
  readonly repeats?: number;
  /** Rest before each turn, in which the threads of the last one go to sleep. */
  readonly restMs?: number;
  readonly onTurn?: (done: number, total: number) => void;
}

/** Lets every contender work once per round, `warmUps` rounds unrecorded and `repeats` recorded. */
export async function measureInTurn(
  contenders: readonly Contender[],
  { warmUps = 2, repeats = 7, restMs = 50, onTurn }: TurnOptions = {},
): Promise<TurnResult> {
  const seconds = contenders.map((): number[] => []);
  const pids = [...new Set(contenders.flatMap((contender) => contender.pids))];
  let before = loadNow(pids);
  for (let round = -warmUps; round < repeats; round++) {
    if (round === 0) before = loadNow(pids);
    for (const [i, contender] of contenders.entries()) {
      await sleep(restMs);
      const elapsed = await contender.seconds();
      if (round >= 0) seconds[i]!.push(elapsed);
    }
    onTurn?.(round + warmUps + 1, warmUps + repeats);
  }
  const after = loadNow(pids);
  return {
    timings: contenders.map(({ name }, i) => ({
      name,
      seconds: median(seconds[i]!),
      p10: quantile(seconds[i]!, 0.1),
      p90: quantile(seconds[i]!, 0.9),
    })),
    foreignCores:
      before === null || after === null
        ? null
        : Math.max(0, after.foreignSeconds - before.foreignSeconds) / (after.at - before.at),
  };
}

function loadNow(pids: readonly number[]): { at: number; foreignSeconds: number } | null {
  const all = machineCpuSeconds();
  const own = pids.map(processCpuSeconds);
  if (all === null || own.some((value) => value === null)) return null;
  return {
    at: performance.now() / 1000,
    foreignSeconds: all - own.reduce<number>((sum, value) => sum + (value ?? 0), 0),
  };
}
