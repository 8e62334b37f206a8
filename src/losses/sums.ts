/** Sums over the tokens that belong together, as every one of these tokens sees them. */
import { gatherRows, reshape, scatterAddRows, type Value } from "../graph/index.js";

/** Each token's sum over the tokens of its own group, [S]. `groups_S`: int64 [S], numbers below S. */
export function sumWithin(groups_S: Value, values_S: Value): Value {
  const tokens = values_S.shape[0]!;
  const sums = scatterAddRows(groups_S, reshape(values_S, [tokens, 1]), tokens);
  return reshape(gatherRows(sums, groups_S), [tokens]);
}
