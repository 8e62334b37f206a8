/** Preference pairs from votes: the answer that more than half of the annotators prefer is chosen. */
import { UserError } from "../../base/index.js";
import type { Comparison, ComparisonSet, Vote } from "./comparisons.js";

/** A pair as a row of a preference file. */
export interface MajorityPair {
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
  /** (votes for chosen − votes for rejected) / votes, in (0, 1]; 1 where all agree. */
  readonly margin: number;
  readonly votes: readonly Vote[];
  readonly source: string;
  readonly source_line: number;
  readonly category?: string;
}

export interface MajorityPairs {
  readonly pairs: readonly MajorityPair[];
  /** Lines left out because more than half call it a tie. */
  readonly ties: readonly number[];
  /** Lines left out because no judgement has more than half of the votes. */
  readonly undecided: readonly number[];
}

/**
 * The pairs of the comparisons that a majority decides; ties are left out and listed.
 *
 * @throws UserError when no comparison is decided
 */
export function pairsByMajority({ path, comparisons }: ComparisonSet): MajorityPairs {
  const pairs: MajorityPair[] = [];
  const ties: number[] = [];
  const undecided: number[] = [];
  for (const comparison of comparisons) {
    const winner = majorityOf(comparison.votes);
    if (winner === undefined) undecided.push(comparison.line);
    else if (winner === 0) ties.push(comparison.line);
    else pairs.push(toPair(comparison, winner, path));
  }
  if (pairs.length === 0) {
    throw new UserError(
      `Cannot make pairs of ${path}: of ${comparisons.length} comparisons ${ties.length} are ties and ${undecided.length} have no majority, expected at least one that a majority decides`,
    );
  }
  return { pairs, ties, undecided };
}

/** The judgement that more than half of the votes have. */
export function majorityOf(votes: readonly Vote[]): Vote | undefined {
  return ([0, 1, 2] as const).find((vote) => 2 * votes.filter((one) => one === vote).length > votes.length);
}

function toPair(comparison: Comparison, winner: 1 | 2, path: string): MajorityPair {
  const { line, prompt, responses, votes, category } = comparison;
  const votesFor = (vote: Vote): number => votes.filter((one) => one === vote).length;
  const loser = winner === 1 ? 2 : 1;
  return {
    prompt,
    chosen: responses[winner - 1]!,
    rejected: responses[loser - 1]!,
    margin: (votesFor(winner) - votesFor(loser)) / votes.length,
    votes,
    source: path,
    source_line: line,
    ...(category === undefined ? {} : { category }),
  };
}
