/** The commands and options of `hone data`. Each command's code is loaded when it runs. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { numberBetween, wholeNumber } from "./number-options.js";

/** Adds `hone data` and its commands. */
export function addData(program: Command, jsonOption: () => Option): void {
  const data = program.command("data").description("check, split and describe data sets (docs/data.md)");
  const fraction = numberBetween(0, 1);
  withReading(
    data.command("check <file>").description("hold a data set to limits; exits with 1 when one is not kept"),
  )
    .option(
      "--evaluation <file>",
      "what the rows must not hold: any file of texts; repeatable",
      (text: string, previous: readonly string[] = []) => [...previous, text],
    )
    .option("--coverage <shares>", "wanted shares of categories, such as tool=0.4,style=0.6", namedShares)
    .option("--tokenizer <dir>", "measure lengths in tokens instead of characters")
    .option("--min-rows <n>", "default: 1000 for preference pairs, 1 for other rows", wholeNumber(1))
    .option("--min-gap <x>", "least mean of score(chosen) - score(rejected) (default: 0.15)", fraction)
    .option("--min-decontamination <x>", "least share of rows without overlap (default: 0.9)", fraction)
    .option("--max-duplicates <x>", "share of rows that repeat another (default: 0.01)", fraction)
    .option("--max-near-duplicates <x>", "share that nearly repeat another (default: 0.05)", fraction)
    .option("--max-degenerate <x>", "share of degenerate answers (default: 0.01)", fraction)
    .option("--max-coverage-error <x>", "distance of a share from its target (default: 0.05)", fraction)
    .option("--max-prompt-length <n>", "longest prompt", wholeNumber(1))
    .option("--max-completion-length <n>", "longest answer", wholeNumber(1))
    .option("--near <x>", "similarity from which on rows are near duplicates", fraction, 0.8)
    .option("-o, --output <dir>", "where report.md, report.html and report.json go")
    .addOption(jsonOption())
    .action(async (file, options) => (await import("./commands/data-check.js")).checkData(file, options));
  withReading(
    data
      .command("stats <file>")
      .description("what a data set holds, where it came from, how long its texts are"),
  )
    .option("--tokenizer <dir>", "measure lengths in tokens instead of characters")
    .option("-o, --output <dir>", "where report.md, report.html and report.json go")
    .addOption(jsonOption())
    .action(async (file, options) => (await import("./commands/data-stats.js")).showStats(file, options));
  withReading(
    data
      .command("split <file>")
      .description("split by prompt, no prompt in two splits, and record the lineage"),
  )
    .requiredOption("-o, --output <dir>", "where the splits and dataset.json go: a new or empty directory")
    .option("--shares <shares>", "name=share of each split", namedShares, {
      train: 0.8,
      validation: 0.1,
      test: 0.1,
    })
    .option("--seed <n>", "which prompts go where", wholeNumber(0), 42)
    .addOption(jsonOption())
    .action(async (file, options) => (await import("./commands/data-split.js")).splitData(file, options));
  withReading(data.command("diff <before> <after>").description("what changed from one data set to another"))
    .addOption(jsonOption())
    .action(async (before, after, options) =>
      (await import("./commands/data-diff.js")).diffData(before, after, options),
    );
  data
    .command("agreement <file>")
    .description("how far annotators of two answers agree (kappa), and pairs by their majority")
    .option("-o, --output <file>", "write the pairs to a new file of JSON Lines")
    .addOption(jsonOption())
    .action(async (file, options) =>
      (await import("./commands/data-agreement.js")).showAgreement(file, options),
    );
}

/** Options that say how a file is read. */
function withReading(command: Command): Command {
  return command
    .addOption(
      new Option("--kind <kind>", "what the rows are, where their columns fit several").choices([
        ...["preference", "unpaired", "scored", "prompt", "demonstration"],
      ]),
    )
    .option("--columns <names>", "ours=theirs, such as prompt=question,category=topic", namedColumns)
    .addOption(
      new Option("--prompt-in <place>", "where the prompt of a pair stands")
        .choices(["auto", "column", "answers"])
        .default("auto"),
    );
}

/** `a=0.4,b=0.6` as a record of numbers. */
export function namedShares(text: string): Record<string, number> {
  return Object.fromEntries(
    namedParts(text, "name=share").map(([name, value]) => {
      const share = Number(value);
      if (value.trim() !== "" && Number.isFinite(share)) return [name, share];
      throw new InvalidArgumentError(`Expected a number after "${name}=", found "${value}".`);
    }),
  );
}

/** `ours=theirs,…` as a record; each use of the option adds to those before it. */
export function namedColumns(text: string, previous: Record<string, string> = {}): Record<string, string> {
  const columns = Object.fromEntries(namedParts(text, "ours=theirs"));
  const unknown = Object.keys(columns).find((name) => !COLUMNS.includes(name));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`Column "${unknown}" is none of ours, expected ${COLUMNS.join(", ")}.`);
  }
  return { ...previous, ...columns };
}

const COLUMNS = [
  ...[
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "label",
    "score",
    "category",
    "messages",
    "tools",
    "text",
  ],
];

function namedParts(text: string, form: string): [string, string][] {
  return text.split(",").map((part) => {
    const [name = "", ...rest] = part.split("=");
    if (name.trim() !== "" && rest.length > 0) return [name.trim(), rest.join("=").trim()];
    throw new InvalidArgumentError(`Expected ${form}, separated by commas, found "${part}".`);
  });
}
