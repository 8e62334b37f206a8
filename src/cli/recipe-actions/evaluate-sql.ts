/** Spider's evaluation of a model as a step, and the comparison of two as another. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { mean, parseSettings, UserError } from "../../base/index.js";
import { loadTextToSqlData, parseTextToSqlConfig, SPLITS, type TextToSqlConfig } from "../../envs/index.js";
import {
  compareModels,
  type PairedDifference,
  pairedBootstrap,
  parseSpiderItems,
  type SpiderReport,
  spiderReport,
  writeSpiderReport,
} from "../../evals/index.js";
import type { Action } from "../../pipeline/index.js";
import { evaluateOnFillings, evaluateSql } from "../sql-evaluation.js";
import { parseArguments } from "./arguments.js";

const Evaluate = z.strictObject({
  model: z.string().min(1),
  adapter: z.string().optional(),
  label: z.string().min(1),
  split: z.enum(SPLITS),
  limit: z.int().positive().optional(),
  maxTokens: z.int().positive(),
  environment: z.record(z.string(), z.json()),
});

/** Outputs: the report as JSON, the accuracy, and on freshly filled databases where the data has any. */
export const evaluateSqlAction: Action = {
  version: 1,
  async run({ directory, arguments: given, signal, say }) {
    const { model, adapter, label, split, limit, maxTokens, environment } = parseArguments(
      Evaluate,
      given,
      "evaluate-sql",
    );
    const config = parseTextToSqlConfig(environment);
    const report = await evaluateSql({
      ...{ model, label, environment: config, split, maxTokens, promptFormat: "auto", signal },
      ...{ adapter, limit, maxTurns: 1 + config.corrections },
    });
    const fillings = await onFillings(report, config, split);
    writeFileSync(join(directory, "report.json"), `${JSON.stringify({ ...report, fillings }, null, 1)}\n`);
    const { execution, exact } = report.levels.all;
    say(
      `${label}: execution accuracy ${percent(execution.value)} [${percent(execution.low)}, ${percent(execution.high)}] of ${execution.count}, exact set match ${percent(exact.value)}`,
    );
    return {
      report: join(directory, "report.json"),
      executionAccuracy: execution.value,
      exactMatch: exact.value,
    };
  },
};

/** Whether each item is right on each further filling: lucky matches show there. */
async function onFillings(
  report: SpiderReport,
  config: TextToSqlConfig,
  split: (typeof SPLITS)[number],
): Promise<boolean[][]> {
  const root = join(config.data, "fillings");
  if (!existsSync(root)) return [];
  const ids = new Set(report.items.map(({ id }) => id));
  const loaded = loadTextToSqlData(config.data, { splitBy: config.splitBy, seed: config.splitSeed });
  const examples = loaded.splits[split].filter(({ id }) => ids.has(id));
  const folders = readdirSync(root)
    .sort()
    .map((name) => join(root, name));
  const reports = await evaluateOnFillings(report, examples, folders);
  return reports.map(({ items }) => items.map(({ isExecutionMatch }) => isExecutionMatch === true));
}

const Compare = z.strictObject({
  before: z.string().min(1),
  after: z.string().min(1),
  seed: z.int().nonnegative().default(0),
});

const Saved = z.looseObject({
  model: z.string(),
  items: z.array(z.unknown()),
  fillings: z.array(z.array(z.boolean())).default([]),
});

interface Saved {
  readonly report: SpiderReport;
  readonly fillings: readonly (readonly boolean[])[];
}

/** The gain with its interval, by paired bootstrap over the same questions; and the whole report as JSON, Markdown and HTML. */
export const compareSqlAction: Action = {
  version: 2,
  async run({ directory, arguments: given, say }) {
    const { before, after, seed } = parseArguments(Compare, given, "compare-sql");
    const [first, second] = [readSaved(before), readSaved(after)];
    const reports = [first.report, second.report];
    const gain = compareModels(reports, seed)[0]?.execution.all;
    if (gain === undefined) {
      throw new UserError(
        `Cannot compare ${after} with ${before}: no question was judged for both, expected at least one`,
      );
    }
    const fresh = onFreshFillings(first, second, seed);
    const accuracy = ({ report }: Saved): number => report.levels.all.execution.value;
    const summary = {
      header: ["", first.report.model, second.report.model, "gain [95 %]", "better, worse"],
      rows: [
        row("held-out execution accuracy", accuracy(first), accuracy(second), gain),
        ...(fresh === undefined
          ? []
          : [row("the same on freshly filled databases", mean(fresh.before), mean(fresh.after), fresh.gain)]),
      ],
    };
    const paths = await writeSpiderReport(directory, reports, {
      ...{ title: `${second.report.model} against ${first.report.model}`, summary, seed },
      notes: [`${gain.count} questions. Gains are points, with intervals of 95 % by paired bootstrap.`],
    });
    for (const cells of [summary.header, ...summary.rows]) say(`| ${cells.join(" | ")} |`);
    say(`with hardness, errors and examples: ${paths.markdown} and ${paths.html}`);
    return {
      report: paths.markdown,
      html: paths.html,
      gain: gain.difference,
      low: gain.low,
      high: gain.high,
      ...(fresh === undefined
        ? {}
        : { freshGain: fresh.gain.difference, freshLow: fresh.gain.low, freshHigh: fresh.gain.high }),
    };
  },
};

function readSaved(path: string): Saved {
  const { model, items, fillings } = parseSettings(
    Saved,
    JSON.parse(readFileSync(path, "utf8")),
    `Cannot read the evaluation ${path}`,
  );
  return { report: spiderReport(model, parseSpiderItems(items, path)), fillings };
}

function onFreshFillings(
  first: Saved,
  second: Saved,
  seed: number,
): { readonly before: number[]; readonly after: number[]; readonly gain: PairedDifference } | undefined {
  if (first.fillings.length === 0 || first.fillings.length !== second.fillings.length) return undefined;
  // A question's score is its share of the fillings: questions are drawn, fillings stay together.
  const shares = ({ fillings }: Saved): number[] =>
    fillings[0]!.map((_, i) => fillings.filter((filling) => filling[i] === true).length / fillings.length);
  const [before, after] = [shares(first), shares(second)];
  return { before, after, gain: pairedBootstrap(before, after, { seed }) };
}

function row(name: string, before: number, after: number, gain: PairedDifference): string[] {
  const signed = (value: number): string => `${value >= 0 ? "+" : "−"}${(100 * Math.abs(value)).toFixed(1)}`;
  return [
    name,
    percent(before),
    percent(after),
    `${signed(gain.difference)} [${signed(gain.low)}, ${signed(gain.high)}]`,
    `${gain.wins}, ${gain.losses}`,
  ];
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
