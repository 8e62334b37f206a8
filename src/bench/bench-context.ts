/** What a benchmark is given from outside: who runs our side, which Python has the peers, where progress is noted. */
import { fileURLToPath } from "node:url";
import type { MatmulRuntime } from "./matmul.js";
import { type Contender, measureInTurn, type TurnOptions } from "./measure-in-turn.js";
import type { ModelShape, StoredAs } from "./model-shape.js";
import { type PythonPeer, startPythonPeer } from "./python-peer.js";
import type { BenchResult } from "./report.js";

/** Our side of a comparison; closing it ends its engine. */
export interface ClosableContender extends Contender {
  close(): Promise<void>;
}

export interface TrainerOptions {
  /** Keeps the weights that are not trained in 4 bits. @default false */
  readonly quantised?: boolean;
  /** Computes activations twice to keep fewer. @default false */
  readonly gradientCheckpointing?: boolean;
  /** What kind of numbers the random weights are. @default "float32" */
  readonly storedAs?: StoredAs;
}

export interface BenchContext {
  readonly threads: number;
  /** The Python that has the peers; null measures our side alone. */
  readonly python: string | null;
  /** Result names to measure; null is all. */
  readonly only: readonly string[] | null;
  readonly repeats: number | null;
  /** A training engine with random weights of this shape; a turn is one forward, backward and AdamW update. */
  openTrainer(shape: ModelShape, options?: TrainerOptions): Promise<ClosableContender>;
  openRuntime(): Promise<MatmulRuntime>;
  /** Says something to whoever waits. */
  note(text: string): void;
}

/** A peer of tools/peers, or null without a Python that has it. */
export async function openPeer(
  { python, note }: BenchContext,
  script: string,
  scriptArguments: readonly string[],
): Promise<PythonPeer | null> {
  if (python === null) return null;
  note(`starting ${script} ${scriptArguments.join(" ")}`);
  return startPythonPeer(python, peerScript(script), scriptArguments);
}

/** The path of a script of tools/peers. */
export function peerScript(script: string): string {
  return fileURLToPath(new URL(`../../tools/peers/${script}`, import.meta.url));
}

/** Our contender against the peer in turn, as a result. Both are closed afterwards, also after a failure. */
export async function compare(
  context: BenchContext,
  name: string,
  { ours, peer }: { readonly ours: ClosableContender; readonly peer: ClosableContender | null },
  options: TurnOptions = {},
): Promise<BenchResult> {
  try {
    const contenders = peer === null ? [ours] : [ours, peer];
    const { timings, foreignCores } = await measureInTurn(contenders, {
      ...options,
      ...(context.repeats === null ? {} : { repeats: context.repeats }),
      onTurn: (done, total) => context.note(`${name}: round ${done} of ${total}`),
    });
    return resultOf(name, timings[0]!, timings[1] ?? null, foreignCores);
  } finally {
    await Promise.all([ours.close(), peer?.close()]);
  }
}

type Timing = Awaited<ReturnType<typeof measureInTurn>>["timings"][number];

/** One timing, or two compared. */
export function resultOf(
  name: string,
  ours: Timing,
  peer: Timing | null,
  foreignCores: number | null,
): BenchResult {
  return {
    name,
    seconds: ours.seconds,
    peer: peer?.name ?? null,
    peerSeconds: peer?.seconds ?? null,
    ratio: peer === null ? null : peer.seconds / ours.seconds,
    spread: [ours.p10, ours.p90],
    ...(peer === null ? {} : { peerSpread: [peer.p10, peer.p90] as const }),
    ...(foreignCores === null ? {} : { foreignCores }),
  };
}
