/** What the steps of recipes can do, by the names that recipes use. */
import type { Action } from "../../pipeline/index.js";
import { compareSqlAction, evaluateSqlAction } from "./evaluate-sql.js";
import { smallModel } from "./small-model.js";
import { textToSqlData } from "./text-to-sql-data.js";
import { trainRlAction, trainSftAction } from "./training.js";

/** With `json`, the commands behind the actions print records instead of lines, as the whole recipe does. */
export function recipeActions({ json }: { readonly json: boolean }): Readonly<Record<string, Action>> {
  return {
    "text-to-sql-data": textToSqlData,
    "small-model": smallModel({ json }),
    "train-sft": trainSftAction({ json }),
    "train-rl": trainRlAction({ json }),
    "evaluate-sql": evaluateSqlAction,
    "compare-sql": compareSqlAction,
  };
}
