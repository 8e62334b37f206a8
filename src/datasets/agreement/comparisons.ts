/**
 * Two answers to a prompt, judged by several annotators: read from a file, their agreement, and preference pairs by
 * majority. The layout is PandaLM's: `response1`, `response2`, and a column per annotator with 1, 2 or 0 for a tie.
 */
import { z } from "zod";
import { UserError } from "../../base/index.js";
import { parseRow, requireObject } from "../examples.js";
import { type DataRow, readRows } from "../rows.js";
import { cohenKappa, type PairAgreement } from "./cohen-kappa.js";
import { fleissKappa, type GroupAgreement } from "./fleiss-kappa.js";

/** Which answer is better: the first, the second, or neither. */
export type Vote = 0 | 1 | 2;

export interface Comparison {
  readonly line: number;
  readonly prompt: string;
  readonly responses: readonly [string, string];
  /** In the order of `ComparisonSet.annotators`. */
  readonly votes: readonly Vote[];
  readonly category?: string;
}

export interface ComparisonSet {
  readonly path: string;
  readonly annotators: readonly string[];
  readonly comparisons: readonly Comparison[];
}

export interface Agreement {
  /** Of every two annotators. */
  readonly pairs: readonly ({ readonly annotators: readonly [string, string] } & PairAgreement)[];
  readonly group: GroupAgreement;
  /** Items on which all agree. */
  readonly unanimous: number;
}

/** An answer "True" comes as a truth value from those who write JSON carelessly, as PandaLM's own file does. */
const Text = z.union([z.string(), z.number(), z.boolean()]).transform(String);
const ComparisonRow = z.looseObject({
  prompt: z.string().nullish(),
  instruction: z.string().nullish(),
  input: z.string().nullish(),
  response1: Text,
  response2: Text,
  category: z.string().nullish(),
});
const VoteValue = z.union([z.literal(0), z.literal(1), z.literal(2)]);

/**
 * The comparisons of a file (JSON Lines, Parquet or a JSON array).
 *
 * @throws UserError where a row has no answers, no prompt, or other annotators than the first
 */
export async function readComparisons(path: string): Promise<ComparisonSet> {
  const comparisons: Comparison[] = [];
  let annotators: string[] = [];
  for await (const { line, value } of readRows(path)) {
    const at = `${path}:${line}`;
    const row = requireObject(value, at);
    const own = Object.keys(row)
      .filter((column) => /^annotator_?\d+$/.test(column))
      .sort();
    if (comparisons.length === 0) annotators = own;
    if (own.length < 2 || own.join() !== annotators.join()) {
      throw new UserError(
        `Cannot read ${at}: it has ${own.length === 0 ? "no column annotator1, annotator2, …" : own.join(", ")}, expected ${comparisons.length === 0 ? "at least two, each with 1, 2 or 0 (a tie)" : `${annotators.join(", ")} as in the first row`}`,
      );
    }
    comparisons.push(toComparison({ line, value: row }, own, at));
  }
  if (comparisons.length === 0) {
    throw new UserError(`Cannot read ${path}: it has no rows, expected at least one`);
  }
  return { path, annotators, comparisons };
}

/** Cohen's kappa of every two annotators, Fleiss' kappa of all. */
export function measureAgreement({ annotators, comparisons }: ComparisonSet): Agreement {
  const votesOf = (annotator: number): Vote[] => comparisons.map(({ votes }) => votes[annotator]!);
  return {
    pairs: annotators.flatMap((first, a) =>
      annotators.slice(a + 1).map((second, i) => ({
        annotators: [first, second] as const,
        ...cohenKappa(votesOf(a), votesOf(a + 1 + i)),
      })),
    ),
    group: fleissKappa(comparisons.map(({ votes }) => votes)),
    unanimous: comparisons.filter(({ votes }) => votes.every((vote) => vote === votes[0])).length,
  };
}

function toComparison({ line, value }: DataRow, columns: readonly string[], at: string): Comparison {
  const row = parseRow(ComparisonRow, value, at);
  const prompt =
    row.prompt ?? [row.instruction, row.input].filter((text) => text != null && text !== "").join("\n\n");
  if (prompt === "") {
    throw new UserError(
      `Cannot read ${at}: it has no prompt, expected a column prompt, or instruction and input`,
    );
  }
  const Votes = z.looseObject(Object.fromEntries(columns.map((column) => [column, VoteValue])));
  const votes = parseRow(Votes, value, at);
  return {
    line,
    prompt,
    responses: [row.response1, row.response2],
    // The schema has said that each is 0, 1 or 2.
    votes: columns.map((column) => votes[column] as Vote),
    ...(row.category == null ? {} : { category: row.category }),
  };
}
