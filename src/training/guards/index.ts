/** Formula room of the loops' guards: one file per thing that goes wrong, and what they say together. */
import { entropyGuard } from "./entropy.js";
import { gradNormGuard } from "./grad-norm.js";
import type { Baseline, Guard, GuardAction, GuardLimits, Measurements } from "./guard.js";
import { invalidGuard } from "./invalid.js";
import { klGuard } from "./kl.js";
import { lengthGuard } from "./length.js";
import { truncationGuard } from "./truncation.js";
import { zeroVarianceGuard } from "./zero-variance.js";

export {
  type Baseline,
  GUARD_ACTIONS,
  type Guard,
  type GuardAction,
  type GuardLimits,
  type Measurements,
} from "./guard.js";

export const GUARDS = {
  kl: klGuard,
  entropy: entropyGuard,
  gradNorm: gradNormGuard,
  zeroVariance: zeroVarianceGuard,
  length: lengthGuard,
  truncation: truncationGuard,
  invalid: invalidGuard,
} as const satisfies Readonly<Record<string, Guard>>;
export type GuardName = keyof typeof GUARDS;

/** For each guard, the steps in a row that its number was beyond the warning and beyond the limit. */
export type GuardCounts = Readonly<Record<string, { readonly warn: number; readonly limit: number }>>;

export interface Alarm {
  readonly guard: GuardName;
  readonly action: GuardAction;
  readonly value: number;
  /** The bound that was passed. */
  readonly limit: number;
  /** One sentence with both numbers, and what can be done. */
  readonly reason: string;
}

export interface GuardVerdict {
  readonly alarms: readonly Alarm[];
  readonly counts: GuardCounts;
}

/**
 * Holds a step's measurements against every guard. A guard speaks in the step that makes `patience` in a row beyond a
 * bound, and again after as many more; a step within bounds starts the count anew. A guard set to `null` is off.
 */
export function checkGuards(
  measurements: Measurements,
  {
    baseline,
    limits,
    counts,
  }: {
    readonly baseline: Baseline;
    readonly limits: Readonly<Record<GuardName, GuardLimits | null>>;
    readonly counts: GuardCounts;
  },
): GuardVerdict {
  const alarms: Alarm[] = [];
  const next: Record<string, { warn: number; limit: number }> = {};
  for (const [name, guard] of Object.entries(GUARDS) as [GuardName, Guard][]) {
    // the keys of GUARDS itself
    const bounds = limits[name];
    const value = guard.measure(measurements, baseline);
    if (bounds === null || value === undefined) continue;
    const isBeyond = (bound: number): boolean => (guard.side === "above" ? value >= bound : value <= bound);
    const before = counts[name] ?? { warn: 0, limit: 0 };
    const warn = isBeyond(bounds.warn) ? before.warn + 1 : 0;
    const limit = isBeyond(bounds.limit) ? before.limit + 1 : 0;
    const acts = limit > 0 && limit % bounds.patience === 0;
    const warns = !acts && warn > 0 && warn % bounds.patience === 0;
    if (acts || warns) {
      const bound = acts ? bounds.limit : bounds.warn;
      const rows = bounds.patience === 1 ? "" : ` for ${bounds.patience} steps in a row`;
      alarms.push({
        guard: name,
        action: acts ? bounds.action : "warn",
        value,
        limit: bound,
        reason: `${guard.describe(value)}, ${acts ? "at or beyond the limit of" : `healthy is ${guard.side === "above" ? "below" : "above"}`} ${bound}${rows}. ${guard.remedy}`,
      });
    }
    next[name] = { warn, limit };
  }
  return { alarms, counts: next };
}
