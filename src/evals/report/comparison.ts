/** Reports of several models on the same examples, side by side, with the differences to the first. */
import { UserError } from "../../base/index.js";
import { type PairedDifference, pairedBootstrap } from "../metrics/paired-bootstrap.js";
import { LEVELS, type Level, type SpiderReport } from "../spider/report.js";

export interface ModelDifference {
  readonly model: string;
  readonly baseline: string;
  /** Execution accuracy, second minus first; absent where a level has no examples. */
  readonly execution: Readonly<Partial<Record<Level, PairedDifference>>>;
  /** Items that only the model, or only the baseline, answers. */
  readonly gained: readonly string[];
  readonly lost: readonly string[];
}

/**
 * Each further model against the first, by paired bootstrap over the items that both could be judged on.
 *
 * @throws UserError when the models answered different examples
 */
export function compareModels(reports: readonly SpiderReport[], seed = 0): ModelDifference[] {
  const [baseline, ...others] = reports;
  if (baseline === undefined)
    throw new UserError("Cannot compare models: there is no report, expected at least one");
  return others.map((report) => {
    const differs =
      report.items.length !== baseline.items.length
        ? 0
        : report.items.findIndex((item, i) => item.id !== baseline.items[i]!.id);
    if (differs >= 0) {
      throw new UserError(
        `Cannot compare "${report.model}" with "${baseline.model}": they answered different examples (${report.items.length} and ${baseline.items.length}, item ${differs + 1} is "${report.items[differs]?.id}" and "${baseline.items[differs]?.id}"), expected the same in the same order`,
      );
    }
    const pairs = report.items.flatMap((item, i) => {
      const before = baseline.items[i]!.isExecutionMatch;
      const after = item.isExecutionMatch;
      return before === null || after === null ? [] : [{ item, before, after }];
    });
    const execution = Object.fromEntries(
      LEVELS.flatMap((level) => {
        const chosen = level === "all" ? pairs : pairs.filter(({ item }) => item.hardness === level);
        if (chosen.length === 0) return [];
        const scores = (side: "before" | "after"): number[] => chosen.map((pair) => Number(pair[side]));
        return [[level, pairedBootstrap(scores("before"), scores("after"), { seed })]];
      }),
    );
    return {
      model: report.model,
      baseline: baseline.model,
      execution,
      gained: pairs.filter(({ before, after }) => after && !before).map(({ item }) => item.id),
      lost: pairs.filter(({ before, after }) => before && !after).map(({ item }) => item.id),
    };
  });
}
