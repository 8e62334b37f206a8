/** A model's answers to questions about databases, greedily drawn, and what Spider's evaluation says of them. */
import { CancelledError } from "../base/index.js";
import { createSamplingClient } from "../engine/index.js";
import {
  createSqlExecutor,
  createSqlPrompt,
  createTextToSql,
  loadDatabases,
  loadTextToSqlData,
  type SplitName,
  type TextToSqlConfig,
  type TextToSqlExample,
} from "../envs/index.js";
import { evaluateSpider, type SpiderReport } from "../evals/index.js";
import { collectGroups } from "../rollouts/index.js";
import { checkFits, loadTokenizer } from "../text/index.js";
import { openFormat } from "./policy-source.js";

export interface SqlEvaluationOptions {
  readonly model: string;
  /** PEFT folder on top of the model. */
  readonly adapter?: string | undefined;
  /** What reports call the model. */
  readonly label: string;
  readonly environment: TextToSqlConfig;
  readonly split: SplitName;
  /** Questions at most. */
  readonly limit?: number | undefined;
  readonly maxTokens: number;
  readonly maxTurns: number;
  readonly promptFormat: "auto" | "chat" | "plain";
  readonly threads?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** @throws UserError for what the user can mend, `CancelledError` when the signal aborts */
export async function evaluateSql(options: SqlEvaluationOptions): Promise<SpiderReport> {
  const { environment, label, signal } = options;
  const { data, databases: only, splitBy, splitSeed, statementTimeoutSeconds, distinct } = environment;
  const loaded = loadTextToSqlData(data, {
    splitBy,
    seed: splitSeed,
    ...(only === undefined ? {} : { databases: only }),
  });
  const examples = loaded.splits[options.split].slice(0, options.limit);
  const executor = createSqlExecutor({
    databases: (name) => loaded.databases.get(name)!.path,
    deadlineMs: 1000 * statementTimeoutSeconds,
    distinct,
  });
  try {
    const set = createTextToSql(environment, { examples, databases: loaded.databases, executor });
    const texts = await answersOf(options, set);
    const prompt = createSqlPrompt(environment, loaded.databases);
    const predictions = new Map(
      examples.map((example) => [example.id, prompt.read(texts.get(example.id) ?? "", example).answer]),
    );
    if (signal?.aborted === true) throw new CancelledError("The evaluation was stopped");
    const { databases } = loaded;
    return await evaluateSpider({ model: label, examples, predictions, databases, executor });
  } finally {
    await executor.close();
  }
}

/** The same predictions against databases of the same schema filled with other rows, as folders of Spider's layout. */
export async function evaluateOnFillings(
  report: SpiderReport,
  examples: readonly TextToSqlExample[],
  fillings: readonly string[],
): Promise<SpiderReport[]> {
  const predictions = new Map(report.items.map(({ id, predicted }) => [id, predicted]));
  const reports: SpiderReport[] = [];
  for (const folder of fillings) {
    const databases = loadDatabases(folder);
    const executor = createSqlExecutor({ databases: (name) => databases.get(name)!.path });
    try {
      reports.push(await evaluateSpider({ model: report.model, examples, predictions, databases, executor }));
    } finally {
      await executor.close();
    }
  }
  return reports;
}

/** The last completion of each question's episode, by the question's id. */
async function answersOf(
  { model, adapter, maxTokens, maxTurns, promptFormat, threads, signal }: SqlEvaluationOptions,
  set: ReturnType<typeof createTextToSql>,
): Promise<ReadonlyMap<string, string>> {
  const tokenizer = loadTokenizer(model);
  const client = await createSamplingClient({
    model,
    ...(adapter === undefined ? {} : { adapters: { trained: adapter } }),
    ...(threads === undefined ? {} : { threads }),
  });
  try {
    checkFits(tokenizer, model, client.info.vocabularySize);
    const groups = await collectGroups({
      client,
      set,
      format: openFormat(model, tokenizer, promptFormat),
      tasks: set.tasks,
      ...{ groupSize: 1, seed: 0, step: 0, maxTurns, params: { temperature: 0, maxTokens } },
      ...(adapter === undefined ? {} : { adapter: "trained" }),
      ...(signal === undefined ? {} : { signal }),
    });
    return new Map(
      groups.map(({ taskId, trajectories }) => [taskId, trajectories[0]?.turns.at(-1)?.text ?? ""]),
    );
  } finally {
    await client.close();
  }
}
