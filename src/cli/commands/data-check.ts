/** `hone data check`: a data set held to limits. */
import {
  type CoverageTargets,
  checkRecords,
  type DataLimits,
  dataReport,
  type EvaluationText,
  measureRecords,
  readEvaluationTexts,
} from "../../datasets/index.js";
import { figuresOf, type ReadingOptions, readData, tokenCounter, writeReport } from "../data-source.js";
import { EXIT } from "../exit.js";
import { createOutput } from "../output.js";

export interface CheckOptions extends ReadingOptions, DataLimits {
  readonly evaluation?: readonly string[];
  readonly coverage?: CoverageTargets;
  readonly tokenizer?: string;
  readonly near: number;
  readonly output?: string;
}

/** Exits with 1 when a limit is not kept. @throws UserError for what the user can mend */
export async function checkData(path: string, options: CheckOptions): Promise<void> {
  const output = createOutput(options);
  const set = await readData(path, options);
  let evaluation: EvaluationText[] | undefined;
  for (const file of options.evaluation ?? []) {
    evaluation = [...(evaluation ?? []), ...(await readEvaluationTexts(file))];
  }
  const measures = measureRecords(set, {
    nearThreshold: options.near,
    ...tokenCounter(options.tokenizer),
    ...(options.coverage === undefined ? {} : { targets: options.coverage }),
    ...(evaluation === undefined ? {} : { evaluation }),
  });
  const checks = checkRecords(measures, options);
  const failed = checks.filter(({ passed }) => !passed);
  if (options.output !== undefined) {
    await writeReport(options.output, dataReport(measures, checks), { measures, checks });
  }
  for (const check of checks) {
    output.record("check", { ...check });
    const where = check.lines.length === 0 ? "" : ` (${path}:${check.lines.join(", ")})`;
    const isFound = !check.passed || check.measured !== 0;
    output.print(
      `${check.passed ? "passed" : "FAILED"}  ${check.name}: ${check.reason}${isFound ? where : ""}`,
    );
  }
  output.record("summary", { ...figuresOf(measures), passed: failed.length === 0 });
  output.print(
    failed.length === 0
      ? `All ${checks.length} checks of ${path} passed`
      : `${failed.length} of ${checks.length} checks of ${path} failed: ${failed.map(({ name }) => name).join(", ")}`,
  );
  if (failed.length > 0) process.exitCode = EXIT.gateFailed;
}
