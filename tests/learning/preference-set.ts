/** A preference set with a known rule, the model that learns it, and what a run on it reaches. */
import { Random } from "../../src/base/index.js";
import { createTrainingClient, type EmbeddedTrainingClient } from "../../src/engine/index.js";
import {
  type PairRow,
  PREFERENCE_METHODS,
  type PreferenceMethodName,
  type RunPreferencesOptions,
  type RunRecorder,
  runPreferences,
  withReference,
} from "../../src/training/index.js";
import { letterModel } from "../rl/letter-env.mjs";

const EOS = 8;

/** The better answer begins with the prompt's last letter; everything else about answers is chance. */
export function rulePairs(count: number, seed: number): PairRow[] {
  const random = new Random(seed);
  const letters = (length: number): number[] => Array.from({ length }, () => random.integer(EOS));
  return Array.from({ length: count }, (_, i) => {
    const prompt = letters(3);
    const asked = prompt.at(-1)!;
    const answer = (first: number) => {
      const tokens = [first, ...letters(random.integer(3)), EOS];
      return {
        tokens_T: [...prompt, ...tokens],
        lossMask_T: [...prompt.map(() => 0), ...tokens.map(() => 1)],
      };
    };
    return {
      chosen: answer(asked),
      rejected: answer((asked + 1 + random.integer(EOS - 1)) % EOS),
      ...{ margin: 0, category: undefined, line: i + 1, promptKey: `${i}` },
    };
  });
}

export const RATES = {
  dpo: 3e-3,
  orpo: 3e-3,
  simpo: 3e-3,
  cpo: 3e-3,
  reward: 3e-3,
} as const satisfies Record<PreferenceMethodName, number>;

export interface LearningRun {
  readonly method: PreferenceMethodName;
  readonly seed: number;
  /** Where the reference's numbers are kept. */
  readonly directory: string;
  readonly recorder: RunRecorder;
  readonly lora?: boolean;
  readonly maxSteps?: number;
  /** Training pairs. @default 512 */
  readonly pairs?: number;
  readonly more?: Partial<RunPreferencesOptions>;
}

/** One run on a model that has just been made. */
export async function runRule(run: LearningRun, use?: (client: EmbeddedTrainingClient) => Promise<void>) {
  const { method, seed, directory, recorder, lora = false, maxSteps = 60, pairs = 512 } = run;
  const { schema, loss: lossOf } = PREFERENCE_METHODS[method];
  const config = schema.parse({
    ...{ model: "-", data: { train: "-" }, seed, batchSize: 16, epochs: 100, maxSteps },
    ...{ learningRate: RATES[method], saveEvery: 4, evalEvery: 0 },
    ...(lora ? { lora: {} } : {}),
  });
  const loss = lossOf(config);
  const client = await createTrainingClient({
    ...{ model: { config: letterModel, seed }, threads: 1, seed },
    ...(lora ? { lora: { rank: 8, alpha: 16 } } : {}),
    ...(method === "reward" ? { rewardHead: "fresh" as const } : {}),
  });
  try {
    const data = { train: rulePairs(pairs, seed), validation: rulePairs(128, 1000 + seed) };
    const referenced = loss.needsReference
      ? await withReference(data, {
          source: async () => ({ client, withoutAdapter: lora }),
          identity: { seed: `${seed}`, lora: `${lora}` },
          ...{ directory, batchSize: 16 },
        })
      : { ...data, hash: undefined };
    const { train, validation, hash } = referenced;
    const result = await runPreferences({
      ...{ client, method, loss, train, validation, config, recorder, trainPath: "-" },
      ...(hash === undefined ? {} : { referenceHash: hash, startsAtReference: true }),
      clock: () => performance.now(),
      ...run.more,
    });
    await use?.(client);
    return result;
  } finally {
    await client.close();
  }
}

/** A recorder that keeps metrics in memory and no checkpoint. */
export function memoryRecorder(): RunRecorder & { readonly metrics: Record<string, number>[] } {
  const metrics: Record<string, number>[] = [];
  return {
    id: "memory",
    metrics,
    logMetrics: (_, values) => void metrics.push({ ...values }),
    logEvent: () => undefined,
    saveCheckpoint: async () => ({ path: "" }),
  };
}
