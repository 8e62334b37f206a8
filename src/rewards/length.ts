/**
 * Length as a soft band: full marks up to one length, none from another, linear between.
 *
 *     score(n) = 1 for n <= full,   (zero - n) / (zero - full) for full < n < zero,   0 for n >= zero
 *
 * After DAPO's soft overlong punishment (arXiv:2503.14476, equation 13), shifted to 0–1. The unit of length is the
 * caller's: tokens, characters. Short answers are not punished: what is missing is another component's business.
 */
import { UserError } from "../base/index.js";
import type { Grade } from "./reward.js";

export interface LengthBand {
  /** The longest length that still scores 1. */
  readonly full: number;
  /** The shortest length that scores 0. */
  readonly zero: number;
}

/** @throws UserError when the band is empty or upside down */
export function lengthGrade(length: number, { full, zero }: LengthBand): Grade {
  if (!(full >= 0 && zero > full)) {
    throw new UserError(
      `Cannot grade length: the band falls from ${full} to ${zero}, expected 0 <= full < zero`,
    );
  }
  if (length <= full) return { score: 1 };
  const score = Math.max(0, (zero - length) / (zero - full));
  return { score, evidence: `length ${length}, full marks up to ${full} and none from ${zero}` };
}
