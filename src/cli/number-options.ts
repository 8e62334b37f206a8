/** Numbers on the command line: parsed whole or refused, because `parseInt("12k")` is 12. */
import { InvalidArgumentError } from "commander";

/** A whole number of at least `min`. */
export function wholeNumber(min: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() !== "" && Number.isSafeInteger(value) && value >= min) return value;
    throw new InvalidArgumentError(`Expected a whole number of at least ${min}.`);
  };
}

/** A number from `min` to `max`; `isOpen` leaves `min` itself out. */
export function numberBetween(min: number, max: number, isOpen = false): (text: string) => number {
  const from = isOpen ? `above ${min}` : `of at least ${min}`;
  const to = max === Number.POSITIVE_INFINITY ? "" : ` and at most ${max}`;
  return (text) => {
    const value = Number(text);
    const isIn = (isOpen ? value > min : value >= min) && value <= max && Number.isFinite(value);
    if (text.trim() !== "" && isIn) return value;
    throw new InvalidArgumentError(`Expected a number ${from}${to}.`);
  };
}

/** Names separated by commas; each use of the option adds to those before it. */
export function nameList(text: string, previous: readonly string[] | undefined): string[] {
  const names = text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  if (names.length === 0) throw new InvalidArgumentError("Expected names separated by commas.");
  return [...(previous ?? []), ...names];
}
