/**
 * Which rows make which step. The order is a pure function of seed and epoch, and the place in it two numbers, so a
 * resumed run goes on with exactly the rows that an uninterrupted one would have seen. Knows indices only.
 */
import { z } from "zod";
import { Random } from "../base/index.js";

/** The next row to train on: `position` in the order of `epoch`, both from 0. */
export const DataCursor = z.strictObject({
  epoch: z.int().nonnegative(),
  position: z.int().nonnegative(),
});
export type DataCursor = z.infer<typeof DataCursor>;

export interface Batch {
  /** Indices of the rows, in the order they are trained on. */
  readonly rows: readonly number[];
  /** Where the next batch starts. */
  readonly next: DataCursor;
}

export interface BatchPlan {
  readonly rowCount: number;
  readonly stepsPerEpoch: number;
  /** The batch at `cursor`. The last one of an epoch may be smaller; none reaches into the next epoch. */
  batchAt(cursor: DataCursor): Batch;
}

export const START: DataCursor = { epoch: 0, position: 0 };

/** Batches of `batchSize` of `rowCount` rows, each epoch in a new order unless `shuffle` is false. */
export function createBatchPlan(options: {
  readonly rowCount: number;
  readonly batchSize: number;
  readonly seed: number;
  readonly shuffle?: boolean;
}): BatchPlan {
  const { rowCount, batchSize, seed, shuffle = true } = options;
  if (!Number.isInteger(rowCount) || rowCount < 1 || !Number.isInteger(batchSize) || batchSize < 1) {
    throw new RangeError(
      `Cannot plan batches: rowCount ${rowCount} and batchSize ${batchSize}, expected whole numbers of at least 1`,
    );
  }
  let known: { readonly epoch: number; readonly order: readonly number[] } | undefined;
  const orderOf = (epoch: number): readonly number[] => {
    if (known?.epoch !== epoch) {
      known = { epoch, order: shuffle ? epochOrder(rowCount, seed, epoch) : range(rowCount) };
    }
    return known.order;
  };
  return {
    rowCount,
    stepsPerEpoch: Math.ceil(rowCount / batchSize),
    batchAt({ epoch, position }) {
      if (position >= rowCount) {
        throw new RangeError(
          `Cannot take batch at position ${position} of epoch ${epoch}: the data has ${rowCount} rows, expected a smaller position`,
        );
      }
      const end = Math.min(rowCount, position + batchSize);
      return {
        rows: orderOf(epoch).slice(position, end),
        next: end === rowCount ? { epoch: epoch + 1, position: 0 } : { epoch, position: end },
      };
    },
  };
}

/** The order of one epoch: a permutation of 0 … rowCount − 1. */
export function epochOrder(rowCount: number, seed: number, epoch: number): readonly number[] {
  return new Random(seed).fork(`epoch ${epoch}`).shuffled(range(rowCount));
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
