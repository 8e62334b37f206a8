/** `hone evaluate`: what a model answers to questions about databases, by Spider's evaluation. */
import { resolve } from "node:path";
import { UserError } from "../../base/index.js";
import { parseTextToSqlConfig, SPLITS, type SplitName } from "../../envs/index.js";
import { compareModels, levelsOf, type SpiderReport, writeSpiderReport } from "../../evals/index.js";
import { watchInterrupt } from "../interrupt.js";
import { createOutput, formatTable, type Output, type OutputOptions } from "../output.js";
import { evaluateSql } from "../sql-evaluation.js";

export interface EvaluateOptions extends OutputOptions {
  readonly data: string;
  readonly split: string;
  readonly adapter?: string;
  readonly against?: string;
  readonly prompt: "schema" | "compact";
  readonly listTables: boolean;
  readonly corrections: number;
  readonly limit?: number;
  readonly maxTokens: number;
  readonly output?: string;
  readonly threads?: number;
}

/** @throws UserError for what the user can mend, `CancelledError` when Ctrl-C stopped it */
export async function evaluate(model: string, options: EvaluateOptions): Promise<void> {
  const output = createOutput(options);
  const { against, data, prompt, listTables, corrections, limit, maxTokens, threads } = options;
  const environment = parseTextToSqlConfig({ data: resolve(data), prompt, listTables, corrections });
  const split = splitOf(options.split);
  const interrupt = watchInterrupt((line) => output.print(line));
  try {
    const labelOf = shortNames([options.adapter ?? model, ...(against === undefined ? [] : [against])]);
    const measure = (folder: string, adapter: string | undefined): Promise<SpiderReport> =>
      evaluateSql({
        ...{
          model: folder,
          adapter,
          label: labelOf(adapter ?? folder),
          environment,
          split,
          limit,
          maxTokens,
          threads,
        },
        ...{ maxTurns: 1 + corrections, promptFormat: "auto", signal: interrupt.signal },
      });
    const report = await measure(model, options.adapter);
    tell(output, report);
    const other = against === undefined ? undefined : await measure(against, undefined);
    if (other !== undefined) {
      tell(output, other);
      compare(output, other, report);
    }
    if (options.output === undefined) return;
    const paths = await writeSpiderReport(options.output, [...(other === undefined ? [] : [other]), report], {
      notes: [
        `${report.items.length} questions of the split ${split} of ${data}, answered greedily to ${prompt} prompts, with ${maxTokens} tokens at most.`,
      ],
    });
    output.record("report", paths);
    output.print(`\nwritten: ${Object.values(paths).join(", ")}`);
  } finally {
    interrupt.release();
  }
}

/** Paths without the directories that all of them begin with: tables and charts have little room. */
function shortNames(paths: readonly string[]): (path: string) => string {
  const [first = [], ...others] = paths.map((path) => path.split("/"));
  if (others.length === 0) return (path) => path;
  const isShared = (part: string, i: number): boolean =>
    i < first.length - 1 && others.every((parts) => i < parts.length - 1 && parts[i] === part);
  const differs = first.findIndex((part, i) => !isShared(part, i));
  return (path) => path.split("/").slice(differs).join("/");
}

function splitOf(given: string): SplitName {
  const split = SPLITS.find((name) => name === given);
  if (split !== undefined) return split;
  throw new UserError(
    `Cannot evaluate split "${given}": there is none, expected one of ${SPLITS.join(", ")}`,
  );
}

function tell(output: Output, report: SpiderReport): void {
  const { items, ...figures } = report;
  output.record("evaluation", { ...figures, count: items.length });
  const share = (value: number): string => (100 * value).toFixed(1);
  const rows = levelsOf([report]).map((level) => {
    const { execution, exact } = report.levels[level];
    const interval = `[${share(execution.low)}, ${share(execution.high)}]`;
    return [level, String(execution.count), share(execution.value), interval, share(exact.value)];
  });
  output.print(`\n${report.model}`);
  output.print(formatTable(["hardness", "questions", "execution %", "95 %", "exact match %"], rows));
  const errors = Object.entries(report.errors).filter(([, count]) => count > 0);
  if (errors.length > 0) {
    output.print(
      `wrong answers: ${errors.map(([kind, count]) => `${kind.replaceAll("_", " ")} ${count}`).join(", ")}`,
    );
  }
}

function compare(output: Output, before: SpiderReport, after: SpiderReport): void {
  const gain = compareModels([before, after])[0]?.execution.all;
  if (gain === undefined) return;
  output.record("comparison", { ...gain });
  const signed = (value: number): string => `${value < 0 ? "−" : "+"}${(100 * Math.abs(value)).toFixed(1)}`;
  output.print(
    `\n${after.model} against ${before.model}: ${signed(gain.difference)} points of execution accuracy [${signed(gain.low)}, ${signed(gain.high)}], better on ${gain.wins} questions, worse on ${gain.losses}`,
  );
}
