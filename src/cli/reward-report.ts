/** The report that a trained reward model leaves in its run: `reward-report.json` and the same for people. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { formatRewardReport, rewardReport, type ScoredPair } from "../evals/index.js";
import type { PairRow } from "../training/index.js";
import type { ReferenceJob } from "./preference-job.js";

/** Scores held-out and training pairs; without held-out ones it says that nothing can be told. */
export async function reportReward(
  { client, config, data, output }: Pick<ReferenceJob, "client" | "config" | "data" | "output">,
  directory: string,
): Promise<void> {
  const { train, validation } = data;
  if (validation.length === 0) {
    output.print("No report: nothing was held out. Set data.validationFraction or data.validation");
    return;
  }
  const score = async (rows: readonly PairRow[]): Promise<ScoredPair[]> => {
    const scored: ScoredPair[] = [];
    for (let start = 0; start < rows.length; start += config.batchSize) {
      const batch = rows.slice(start, start + config.batchSize);
      const sequences = batch.flatMap(({ chosen, rejected }) => [chosen, rejected]);
      const scores = await client.scores(sequences.map(({ tokens_T }) => ({ tokens: tokens_T })));
      for (const [i, { chosen, rejected, category }] of batch.entries()) {
        scored.push({
          ...{ chosenScore: scores[2 * i]!, rejectedScore: scores[2 * i + 1]!, category },
          chosenTokens: answerTokens(chosen),
          rejectedTokens: answerTokens(rejected),
        });
      }
    }
    return scored;
  };
  const report = rewardReport(await score(validation), await score(train));
  writeFileSync(join(directory, "reward-report.json"), `${JSON.stringify(report, null, 1)}\n`);
  writeFileSync(join(directory, "reward-report.md"), formatRewardReport(report));
  const { value, low, high } = report.accuracy;
  output.record("reward_report", { ...report });
  const percent = (share: number): string => (100 * share).toFixed(1);
  output.print(
    `It prefers the chosen answer in ${percent(value)} % of ${validation.length} held-out pairs (${percent(low)} to ${percent(high)}); more in reward-report.md of the run`,
  );
}

function answerTokens({ lossMask_T }: PairRow["chosen"]): number {
  return lossMask_T.reduce((sum, bit) => sum + bit, 0);
}
