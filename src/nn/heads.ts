/** Heads that read hidden states instead of predicting tokens. */

import type { Value } from "../graph/index.js";
import * as g from "../graph/index.js";

/** One value per token, for PPO's critic: hidden [T, C], weight [1, C], bias [1] → [T]. */
export function valueHead(hidden: Value, weight: Value, bias: Value): Value {
  return g.reshape(g.linear(hidden, weight, bias), [hidden.shape[0]!]);
}

/**
 * One score per sequence, read at an explicit token: hidden [T, C], weight [1, C], `ends` int64 [D] flat indices of
 * the sequences' last tokens → [D]. The index is data, never inferred from padding.
 */
export function rewardHead(hidden: Value, weight: Value, ends: Value): Value {
  return g.reshape(g.linear(g.gatherRows(hidden, ends), weight), [ends.shape[0]!]);
}
