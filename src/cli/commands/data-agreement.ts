/** `hone data agreement`: how far annotators agree, and the pairs that their majority makes. */
import { agreementRows, measureAgreement, pairsByMajority, readComparisons } from "../../datasets/index.js";
import { writeNewFile } from "../data-source.js";
import { createOutput, formatTable, type OutputOptions } from "../output.js";

export interface AgreementOptions extends OutputOptions {
  readonly output?: string;
}

/** @throws UserError for what the user can mend */
export async function showAgreement(path: string, options: AgreementOptions): Promise<void> {
  const output = createOutput(options);
  const set = await readComparisons(path);
  const agreement = measureAgreement(set);
  output.record("agreement", { path, items: set.comparisons.length, ...agreement });
  output.print(
    `${set.comparisons.length} comparisons by ${set.annotators.length} annotators, unanimous in ${agreement.unanimous}`,
  );
  output.print(formatTable(["annotators", "kappa of", "agree", "kappa"], agreementRows(agreement)));
  const { pairs, ties, undecided } = pairsByMajority(set);
  output.record("pairs", { pairs: pairs.length, ties: ties.length, undecided: undecided.length });
  output.print(
    `By majority: ${pairs.length} pairs; left out ${ties.length} ties and ${undecided.length} without a majority`,
  );
  if (options.output === undefined) return;
  writeNewFile(options.output, pairs.map((pair) => `${JSON.stringify(pair)}\n`).join(""));
  output.print(`Wrote ${options.output}`);
}
