/** `hone data diff`: what changed from one data set to another. */
import { type Difference, diffRecords } from "../../datasets/index.js";
import { type ReadingOptions, readData } from "../data-source.js";
import { createOutput, formatTable } from "../output.js";

const SHOWN_LINES = 20;

/** @throws UserError for what the user can mend */
export async function diffData(before: string, after: string, options: ReadingOptions): Promise<void> {
  const output = createOutput(options);
  const diff = diffRecords(await readData(before, options), await readData(after, options));
  output.record("diff", { before, after, ...diff });
  if (diff.isSame) {
    output.print(`${before} and ${after} say the same, row by row`);
    return;
  }
  const counts = (name: string, { shared, removed, added }: Difference): string[] =>
    [name, shared, removed, added].map(String);
  output.print(
    formatTable(
      ["", "in both", "removed", "added"],
      [counts("rows", diff.rows), counts("prompts", diff.prompts)],
    ),
  );
  output.print(`Prompts in both whose rows changed: ${diff.changedPrompts}`);
  if (diff.rows.removed === 0 && diff.rows.added === 0) output.print("The same rows in another order");
  const { removedLines, addedLines } = diff.rows;
  if (removedLines.length > 0) output.print(`Removed: ${before}:${shown(removedLines)}`);
  if (addedLines.length > 0) output.print(`Added: ${after}:${shown(addedLines)}`);
  const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
  const categories = diff.categories.map((one) => [one.category, percent(one.before), percent(one.after)]);
  if (categories.length > 1) output.print(`\n${formatTable(["category", "before", "after"], categories)}`);
  const lengths = diff.lengths.map(({ part, before: old, after: now }) => [
    part,
    ...[old?.median, now?.median, old?.max, now?.max].map((value) =>
      value === undefined ? "" : String(value),
    ),
  ]);
  output.print(
    `\n${formatTable(["characters", "median before", "after", "longest before", "after"], lengths)}`,
  );
}

const shown = (lines: readonly number[]): string =>
  lines.length <= SHOWN_LINES
    ? lines.join(", ")
    : `${lines.slice(0, SHOWN_LINES).join(", ")}, … (${lines.length})`;
