/** What tools/golden/sampling.py wrote: probabilities after transformers' logits processors, and beams that it found. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { ModelName } from "./read.js";

export interface GoldenProcessors {
  readonly name: string;
  readonly logits: readonly number[];
  /** Tokens that the repetition penalty counts. */
  readonly seen: readonly number[];
  readonly settings: readonly {
    /** What is left out is off. */
    readonly params: Readonly<
      Partial<Record<"temperature" | "topK" | "topP" | "minP" | "repetitionPenalty", number>>
    >;
    readonly probabilities: readonly number[];
  }[];
}

export interface GoldenBeams {
  readonly model: ModelName;
  readonly prompt: readonly number[];
  readonly maxTokens: number;
  readonly options: {
    readonly numBeams: number;
    readonly stopTokens: readonly number[];
    readonly lengthPenalty?: number;
    readonly earlyStopping?: boolean | "never";
  };
  /** Best first. */
  readonly beams: readonly { readonly tokens: readonly number[]; readonly score: number }[];
}

export interface GoldenSampling {
  readonly processors: readonly GoldenProcessors[];
  readonly beams: readonly GoldenBeams[];
}

export function readGoldenSampling(): GoldenSampling {
  const parsed: unknown = JSON.parse(readFileSync(join(import.meta.dirname, "sampling.json"), "utf8"));
  return parsed as GoldenSampling; // written by our own script, in this shape
}
