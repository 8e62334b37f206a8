/**
 * What the reference thinks of every answer: computed once, before step 1, and kept on disk under a name made of all that
 * decides it (weights, tokenizer, the pairs' tokens and masks), so that no run takes another's numbers.
 *
 *     Σ_t log π_ref(y_t | x, y_<t)     over the tokens of each answer
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { answerDatum, answerLogprobs } from "../../algorithms/index.js";
import { UserError } from "../../base/index.js";
import type { TrainingClient } from "../../protocol/index.js";
import { nodeDisk, replaceFile } from "../../runs/index.js";
import { hashPairs, type PairRow } from "./pair-rows.js";

/** Whoever knows the reference's logprobs. */
export interface ReferenceSource {
  readonly client: Pick<TrainingClient, "forward">;
  /** The policy's own client with its adapter left out. */
  readonly withoutAdapter: boolean;
}

export interface ReferenceOptions {
  /** Asked for where the numbers are not on disk. */
  readonly source: () => Promise<ReferenceSource>;
  /** What the reference is: hashes of its weights and tokenizer, and how its weights are held. */
  readonly identity: Readonly<Record<string, string>>;
  /** Where the numbers are kept. */
  readonly directory: string;
  /** Pairs computed in one call. */
  readonly batchSize: number;
  /** Told how many of all pairs are done. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface ReferencedPairs {
  readonly train: readonly PairRow[];
  readonly validation: readonly PairRow[];
  /** SHA-256 of all numbers. */
  readonly hash: string;
  /** They were on disk already. */
  readonly isCached: boolean;
}

const ReferenceFile = z.strictObject({
  version: z.literal(1),
  key: z.string(),
  hash: z.string(),
  /** Chosen, rejected, chosen, … of the training pairs, then of those for validation. */
  logprobs: z.array(z.number()),
});

/** The pairs with the reference's logprobs. @throws UserError for one that is not finite */
export async function withReference(
  { train, validation }: { readonly train: readonly PairRow[]; readonly validation: readonly PairRow[] },
  options: ReferenceOptions,
): Promise<ReferencedPairs> {
  const key = sha256Of({ ...options.identity, train: hashPairs(train), validation: hashPairs(validation) });
  const path = join(options.directory, `${key}.json`);
  const rows = [...train, ...validation];
  const known = readReference(path, key, 2 * rows.length);
  const logprobs = known ?? (await referenceLogprobs(rows, await options.source(), options));
  const hash = sha256Of(logprobs);
  if (known === undefined) {
    mkdirSync(options.directory, { recursive: true });
    replaceFile(
      nodeDisk,
      options.directory,
      `${key}.json`,
      `${JSON.stringify({ version: 1, key, hash, logprobs })}\n`,
    );
  }
  const referenced = withLogprobs(rows, logprobs);
  return {
    train: referenced.slice(0, train.length),
    validation: referenced.slice(train.length),
    hash,
    isCached: known !== undefined,
  };
}

/** The pairs with these numbers of chosen, rejected, chosen, … */
export function withLogprobs(rows: readonly PairRow[], logprobs: readonly number[]): PairRow[] {
  return rows.map((row, i) => ({
    ...row,
    chosen: { ...row.chosen, referenceLogprob: logprobs[2 * i]! },
    rejected: { ...row.rejected, referenceLogprob: logprobs[2 * i + 1]! },
  }));
}

/** Of chosen, rejected, chosen, … @throws UserError for one that is not finite */
export async function referenceLogprobs(
  rows: readonly PairRow[],
  source: ReferenceSource,
  { batchSize, onProgress, signal }: Pick<ReferenceOptions, "batchSize" | "onProgress" | "signal">,
): Promise<number[]> {
  const logprobs: number[] = [];
  for (let start = 0; start < rows.length; start += batchSize) {
    const batch = rows.slice(start, start + batchSize);
    const datums = batch.flatMap(({ chosen, rejected }) => [answerDatum(chosen), answerDatum(rejected)]);
    const { lossFnOutputs } = await source.client.forward(datums, "cross_entropy", {
      supervisedOnly: true,
      ...(source.withoutAdapter ? { withoutAdapter: true } : {}),
      ...(signal === undefined ? {} : { signal }),
    });
    const found = answerLogprobs(datums, lossFnOutputs);
    const broken = found.findIndex((logprob) => !Number.isFinite(logprob));
    if (broken !== -1) {
      const { line } = batch[Math.floor(broken / 2)]!;
      throw new UserError(
        `Cannot take the reference's logprobs: that of the ${broken % 2 === 0 ? "chosen" : "rejected"} answer of line ${line} is ${found[broken]}, expected a finite number. Look at the reference's weights (hone doctor) and at the row`,
      );
    }
    logprobs.push(...found);
    onProgress?.(start + batch.length, rows.length);
  }
  return logprobs;
}

/** The numbers of the file, where it is whole and of this key; anything else is computed anew. */
function readReference(path: string, key: string, count: number): number[] | undefined {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
  const file = ReferenceFile.safeParse(json).data;
  const isWhole =
    file?.key === key && file.logprobs.length === count && sha256Of(file.logprobs) === file.hash;
  return isWhole ? file.logprobs : undefined;
}

function sha256Of(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}
