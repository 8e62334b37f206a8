/** Rollouts as rows of the store. Prompts, which a group's samples share, are kept once, by their hash. */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { SqlValue, StoreDatabase } from "./database.js";
import { packFloats, packIntegers, unpackFloats, unpackIntegers } from "./rollout-bytes.js";
import type { RolloutFilter, RolloutRecord, RolloutSpan } from "./rollout-records.js";

/** Released; entries are only added, at the end. */
const SOURCES = ["prompt", "sampled", "tool", "forced"] as const;
/** Rows read at a time when there may be many. */
const PAGE = 256;

const Bytes = z.instanceof(ArrayBuffer).transform((buffer) => new Uint8Array(buffer));
const json = <Schema extends z.ZodType>(schema: Schema) =>
  z
    .string()
    .transform((text): unknown => JSON.parse(text))
    .pipe(schema);
const Real = z.union([z.number(), z.literal([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])]);
/** JSON has no infinities and no NaN. */
const JsonNumber = z.union([z.number(), z.enum(["NaN", "Infinity", "-Infinity"]).transform(Number)]);

const RolloutRow = z
  .object({
    entry: z.number(),
    step: z.number(),
    task: z.string(),
    tags: json(z.record(z.string(), z.string())),
    sample: z.number(),
    seed: z.number(),
    reward: Real.nullable(),
    invalid: json(z.object({ boundary: z.string(), reason: z.string() }).nullable()),
    components: json(
      z.array(
        z.object({
          name: z.string(),
          score: JsonNumber,
          weight: JsonNumber,
          evidence: z.string().optional(),
        }),
      ),
    ),
    turns: json(
      z.array(
        z.object({
          stopReason: z.string(),
          reward: JsonNumber.nullable(),
          metrics: z.record(z.string(), JsonNumber),
        }),
      ),
    ),
    is_truncated: z.number(),
    prompt: z.string(),
    texts: json(z.array(z.string())),
    tokens: Bytes.transform(unpackIntegers),
    spans: Bytes.transform(unpackIntegers),
    logprobs: Bytes.transform(unpackFloats),
    raw_logprobs: Bytes.transform(unpackFloats),
  })
  .transform((row): RolloutRecord & { readonly entry: number } => {
    const spans = spansOf(row.spans, [row.prompt, ...row.texts]);
    return {
      entry: row.entry,
      step: row.step,
      taskId: row.task,
      tags: row.tags,
      sample: row.sample,
      seed: row.seed,
      reward: row.reward,
      invalid: row.invalid,
      components: row.components.map(({ evidence, ...component }) =>
        evidence === undefined ? component : { ...component, evidence },
      ),
      turns: row.turns,
      isTruncated: row.is_truncated !== 0,
      tokens_T: row.tokens,
      spans,
      logprobs_T: spread(row.logprobs, spans),
      rawLogprobs_T: spread(row.raw_logprobs, spans),
    };
  });

/** Adds rollouts to a run, numbered on from `entry`. Call within a transaction. */
export function writeRollouts(
  database: StoreDatabase,
  run: string,
  { entry, rollouts }: { readonly entry: number; readonly rollouts: readonly RolloutRecord[] },
): void {
  rollouts.forEach((rollout, i) => {
    const { spans } = rollout;
    const prompt = spans[0]?.text ?? "";
    const hash = createHash("sha256").update(prompt).digest("hex");
    database.write("INSERT OR IGNORE INTO rollout_prompts (hash, text) VALUES (?, ?)", hash, prompt);
    database.write(
      `INSERT INTO rollouts (run, entry, step, task, tags, sample, seed, reward, invalid, components, turns, is_truncated,
         prompt_hash, texts, tokens, spans, logprobs, raw_logprobs)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
      run,
      entry + i,
      rollout.step,
      rollout.taskId,
      JSON.stringify(rollout.tags),
      rollout.sample,
      rollout.seed,
      rollout.reward,
      JSON.stringify(rollout.invalid),
      toJson(rollout.components),
      toJson(rollout.turns),
      rollout.isTruncated ? 1 : 0,
      hash,
      JSON.stringify(spans.slice(1).map(({ text }) => text)),
      packIntegers(rollout.tokens_T),
      packIntegers(spans.flatMap(({ source, start, end }) => [SOURCES.indexOf(source), end - start])),
      packFloats(gathered(rollout.logprobs_T, spans)),
      packFloats(gathered(rollout.rawLogprobs_T, spans)),
    );
  });
}

/** In the order they were logged, read a page at a time. */
export function* readRollouts(
  database: StoreDatabase,
  run: string,
  filter: RolloutFilter = {},
): Generator<RolloutRecord> {
  const { step, taskId, minReward, maxReward, isInvalid } = filter;
  const conditions: [string, SqlValue[]][] = [
    ["run = ?", [run]],
    ...(step === undefined ? [] : [condition("step = ?", step)]),
    ...(taskId === undefined ? [] : [condition("task = ?", taskId)]),
    ...(minReward === undefined ? [] : [condition("reward >= ?", minReward)]),
    ...(maxReward === undefined ? [] : [condition("reward <= ?", maxReward)]),
    ...(isInvalid === undefined ? [] : [condition(isInvalid ? "reward IS NULL" : "reward IS NOT NULL")]),
  ];
  const where = [...conditions.map(([text]) => text), "entry > ?"].join(" AND ");
  const values = conditions.flatMap(([, given]) => given);
  const sql = `SELECT rollouts.*, rollout_prompts.text AS prompt FROM rollouts
    JOIN rollout_prompts ON rollout_prompts.hash = rollouts.prompt_hash
    WHERE ${where} ORDER BY entry LIMIT ${PAGE}`;
  for (let after = -1; ; ) {
    const page = database.rows(sql, ...values, after).map((row) => RolloutRow.parse(row));
    for (const { entry, ...rollout } of page) {
      after = entry;
      yield rollout;
    }
    if (page.length < PAGE) return;
  }
}

/** The number that the next rollout of a run gets. */
export function nextRolloutEntry(database: StoreDatabase, run: string): number {
  const [row] = database.rows("SELECT max(entry) AS last FROM rollouts WHERE run = ?", run);
  const { last } = z.object({ last: z.number().nullable() }).parse(row);
  return (last ?? -1) + 1;
}

/** Forgets rollouts of later steps, and prompts that no rollout has any more. Call within a transaction. */
export function cutRollouts(database: StoreDatabase, run: string, lastStep: number): void {
  database.write("DELETE FROM rollouts WHERE run = ? AND step > ?", run, lastStep);
  database.write("DELETE FROM rollout_prompts WHERE hash NOT IN (SELECT prompt_hash FROM rollouts)");
}

const condition = (text: string, ...values: SqlValue[]): [string, SqlValue[]] => [text, values];

function spansOf(packed: readonly number[], texts: readonly string[]): RolloutSpan[] {
  const spans: RolloutSpan[] = [];
  let start = 0;
  for (let i = 0; i < packed.length; i += 2) {
    const end = start + packed[i + 1]!;
    spans.push({ source: SOURCES[packed[i]!]!, start, end, text: texts[i / 2] ?? "" });
    start = end;
  }
  return spans;
}

/** The numbers of sampled tokens alone; the others are 0. */
function gathered(numbers_T: readonly number[], spans: readonly RolloutSpan[]): number[] {
  return spans.flatMap(({ source, start, end }) => (source === "sampled" ? numbers_T.slice(start, end) : []));
}

function spread(gatheredNumbers: readonly number[], spans: readonly RolloutSpan[]): number[] {
  let next = 0;
  return spans.flatMap(({ source, start, end }) =>
    Array.from({ length: end - start }, () => (source === "sampled" ? gatheredNumbers[next++]! : 0)),
  );
}

function toJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === "number" && !Number.isFinite(inner) ? String(inner) : inner,
  );
}
