/** `hone data split`: training, validation and test rows, no prompt in two of them. */
import { type SplitShares, splitRecords, writeParts } from "../../datasets/index.js";
import { type ReadingOptions, readData } from "../data-source.js";
import { fillNewDirectory } from "../new-directory.js";
import { createOutput } from "../output.js";

export interface SplitOptions extends ReadingOptions {
  readonly output: string;
  readonly shares: SplitShares;
  readonly seed: number;
}

/** @throws UserError for what the user can mend */
export async function splitData(path: string, options: SplitOptions): Promise<void> {
  const output = createOutput(options);
  const { shares, seed } = options;
  const set = await readData(path, options);
  const parts = splitRecords(set.records, shares, seed);
  await fillNewDirectory(options.output, "splits", (aside) => {
    const manifest = writeParts(aside, set, parts, { by: "hone data split", settings: { shares, seed } });
    output.record("split", { output: options.output, ...manifest });
  });
  for (const [name, records] of Object.entries(parts)) {
    output.print(
      `${options.output}/${name}.jsonl  ${records.length} rows (${((100 * records.length) / set.records.length).toFixed(1)} %)`,
    );
  }
  output.print(
    `No prompt is in two splits. ${options.output}/dataset.json says which rows of ${path} are where`,
  );
}
