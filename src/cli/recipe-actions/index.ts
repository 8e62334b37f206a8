/** What the steps of recipes can do, by the names that recipes use. */
import type { Action } from "../../pipeline/index.js";
import { compareSqlAction, evaluateSqlAction } from "./evaluate-sql.js";
import { smallModel } from "./small-model.js";
import { textToSqlData } from "./text-to-sql-data.js";
import { trainRlAction, trainSftAction } from "./training.js";

export const ACTIONS: Readonly<Record<string, Action>> = {
  "text-to-sql-data": textToSqlData,
  "small-model": smallModel,
  "train-sft": trainSftAction,
  "train-rl": trainRlAction,
  "evaluate-sql": evaluateSqlAction,
  "compare-sql": compareSqlAction,
};
