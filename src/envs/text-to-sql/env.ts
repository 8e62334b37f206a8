/** The text-to-SQL environment: a question in, one SQL statement out, executed against the gold query. */
import { RolloutError, UserError } from "../../base/index.js";
import type { RewardOutcome } from "../../rewards/index.js";
import type { Action, Env, EnvSet, EnvTask, StepResult } from "../env.js";
import { createCompactPrompt } from "./compact-prompt.js";
import { parseTextToSqlConfig, type TextToSqlConfig, type TextToSqlConfigInput } from "./config.js";
import { loadTextToSqlData, type SplitName, type SqlDatabase, type TextToSqlExample } from "./data/index.js";
import type { SqlPrompt } from "./prompt.js";
import { failureText, isFailure, nothingToGrade, sqlReward } from "./reward.js";
import { createSchemaPrompt } from "./schema-prompt.js";
import { createSqlExecutor, type SqlComparison, type SqlExecutor } from "./sql/index.js";

export interface TextToSqlSource {
  readonly examples: readonly TextToSqlExample[];
  readonly databases: ReadonlyMap<string, SqlDatabase>;
  /** @default one of its own, closed with the set */
  readonly executor?: SqlExecutor;
}

/** The questions of one split of the data that `config` names. @throws UserError naming what is wrong with either */
export function openTextToSql(config: TextToSqlConfigInput, split: SplitName): EnvSet {
  const parsed = parseTextToSqlConfig(config);
  const { data, databases, splitBy, splitSeed } = parsed;
  const loaded = loadTextToSqlData(data, {
    splitBy,
    seed: splitSeed,
    ...(databases === undefined ? {} : { databases }),
  });
  return createTextToSql(parsed, { examples: loaded.splits[split], databases: loaded.databases });
}

/**
 * An environment of given questions.
 *
 * @throws UserError when a setting is wrong, a question's database is missing or the weights are all 0
 */
export function createTextToSql(
  config: Omit<TextToSqlConfigInput, "data">,
  { examples, databases, executor: given }: TextToSqlSource,
): EnvSet {
  const parsed = parseTextToSqlConfig({ ...config, data: "given" });
  const byId = new Map(examples.map((example) => [example.id, example]));
  const lost = examples.find(({ database }) => !databases.has(database));
  if (lost !== undefined) {
    throw new UserError(
      `Cannot ask question "${lost.id}": there is no database "${lost.database}", expected one of ${[...databases.keys()].slice(0, 8).join(", ")}`,
    );
  }
  if (Object.values(parsed.weights).every((weight) => weight === 0)) {
    throw new UserError(
      "Cannot reward SQL: every one of weights is 0, expected at least one above 0, such as execution: 1",
    );
  }
  const prompt = createSqlPrompt(parsed, databases);
  const executor =
    given ??
    createSqlExecutor({
      databases: (name) => databases.get(name)!.path,
      deadlineMs: 1000 * parsed.statementTimeoutSeconds,
      distinct: parsed.distinct,
      ...(parsed.workers === undefined ? {} : { workers: parsed.workers }),
    });
  const exampleOf = ({ id }: EnvTask): TextToSqlExample => {
    const example = byId.get(id);
    if (example === undefined) throw new Error(`internal: text-to-sql has no task "${id}"`);
    return example;
  };
  return {
    name: "text-to-sql",
    tasks: examples.map(({ id, tags, database }) => ({ id, tags: { ...tags, database } })),
    create: async (task) => {
      const example = exampleOf(task);
      return createEpisode({ config: parsed, example, prompt, executor, databases });
    },
    goldActions: (task) => [prompt.goldText(exampleOf(task))],
    close: async () => {
      if (given === undefined) await executor.close();
    },
  };
}

/** How questions are put, and answers read, under `config`. */
export function createSqlPrompt(
  config: Pick<TextToSqlConfig, "prompt" | "answer" | "sampleRows" | "linkValues" | "listTables">,
  databases: ReadonlyMap<string, SqlDatabase>,
): SqlPrompt {
  const { prompt, answer, sampleRows, linkValues, listTables } = config;
  return prompt === "schema"
    ? createSchemaPrompt({ databases, answer, sampleRows, linkValues })
    : createCompactPrompt({ databases, withSchema: listTables, linkValues });
}

interface EpisodeParts {
  readonly config: TextToSqlConfig;
  readonly example: TextToSqlExample;
  readonly prompt: SqlPrompt;
  readonly executor: SqlExecutor;
  readonly databases: ReadonlyMap<string, SqlDatabase>;
}

/** Nothing in it is random: the same question is the same episode. */
function createEpisode({ config, example, prompt, executor, databases }: EpisodeParts): Env {
  const { schema } = databases.get(example.database)!;
  const gold = prompt.read(prompt.goldText(example), example).answer;
  let answers = 0;
  let isOver = false;
  return {
    initialObservation: async () => ({ messages: prompt.messages(example) }),
    async step(action: Action): Promise<StepResult> {
      if (isOver) {
        throw new RolloutError("env", `Cannot answer question "${example.id}" again: its episode is over`);
      }
      const answer = prompt.read(action.text, example);
      const isTruncated = action.stopReason === "length";
      const nothing = nothingToGrade({ answer, isTruncated });
      const comparison = nothing === undefined ? await compare(answer.answer) : undefined;
      const graded = sqlReward({ answer, isTruncated, comparison, gold, schema, weights: config.weights });
      const problem = nothing ?? failureOf(comparison);
      const metrics = metricsOf(comparison, answer.problem === undefined && nothing === undefined);
      const corrections = answers++;
      if (problem !== undefined && corrections < config.corrections && graded.kind === "value") {
        // Only the last answer counts.
        const reward: RewardOutcome = { kind: "value", value: 0, components: [] };
        return { reward, observation: { messages: prompt.correction(problem) }, metrics: {} };
      }
      isOver = true;
      return {
        reward: discounted(graded, config.correctionDiscount ** corrections),
        observation: null,
        metrics: config.corrections > 0 ? { ...metrics, corrections } : metrics,
      };
    },
  };

  async function compare(predicted: string): Promise<SqlComparison> {
    try {
      // The gold query as the data has it: the policy's spelling of it must give the same.
      return await executor.compare(example.database, { gold: example.sql, predicted });
    } catch (error) {
      throw new RolloutError("sandbox", `Cannot run the answer to "${example.id}"`, { cause: error });
    }
  }
}

function failureOf(comparison: SqlComparison | undefined): string | undefined {
  return comparison?.kind === "compared" && isFailure(comparison.predicted)
    ? failureText(comparison.predicted)
    : undefined;
}

/** Shares of episodes once averaged: 0 or 1 each. */
function metricsOf(comparison: SqlComparison | undefined, isWellFormed: boolean): Record<string, number> {
  const predicted = comparison?.kind === "compared" ? comparison.predicted : undefined;
  const is = (holds: boolean): number => (holds ? 1 : 0);
  return {
    correct: is(comparison?.kind === "compared" && comparison.isMatch),
    executed: is(predicted !== undefined && !isFailure(predicted)),
    empty: is(predicted?.kind === "empty"),
    timeout: is(predicted?.kind === "timeout"),
    well_formed: is(isWellFormed),
  };
}

function discounted(reward: RewardOutcome, factor: number): RewardOutcome {
  if (reward.kind === "invalid" || factor === 1) return reward;
  const components = reward.components.map((one) => ({ ...one, weight: one.weight * factor }));
  return { kind: "value", value: reward.value * factor, components };
}
