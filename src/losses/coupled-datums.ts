/** What losses ask of a call's datums beyond one number per token. For engines, and for the two-pass form. */
import { UserError } from "../base/index.js";
import type { Loss } from "./loss.js";

/** @throws UserError when the datums are not a whole number of the loss's examples */
export function expectWholeExamples(loss: Loss, datums: number): void {
  const { datumsPerExample = 1, memberNames = [] } = loss;
  if (datums % datumsPerExample !== 0)
    throw new UserError(
      `Cannot train with "${loss.name}": ${datums} datums, expected a multiple of ${datumsPerExample}: ${memberNames.join(" and ")} of each example one after the other`,
    );
}

/** How messages call a datum: "datum 3 (the rejected of example 1)". */
export function datumTitle({ datumsPerExample = 1, memberNames = [] }: Loss, index: number): string {
  return datumsPerExample === 1
    ? `datum ${index}`
    : `datum ${index} (the ${memberNames[index % datumsPerExample]} of example ${Math.floor(index / datumsPerExample)})`;
}

/** A number for the whole datum as one per token: it stands where the answer begins. Null where `given` is no such number. */
export function numberAtAnswer(
  loss: Loss,
  name: string,
  given: readonly number[],
  answer_T: readonly number[],
): readonly number[] | null {
  if (given.length !== 1 || loss.perSequence?.includes(name) !== true) return null;
  const first = answer_T.findIndex((weight) => weight !== 0);
  return answer_T.map((_, position) => (position === first ? given[0]! : 0));
}
