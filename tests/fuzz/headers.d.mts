/** Types of headers.mjs, for the test that runs a short version of it. */
import type { Random, UserError } from "../../src/base/index.js";
import type { openGguf, openSafetensors, writeGguf, writeSafetensors } from "../../src/tensor/index.js";

export interface FuzzLibrary {
  readonly Random: typeof Random;
  readonly UserError: typeof UserError;
  readonly openGguf: typeof openGguf;
  readonly openSafetensors: typeof openSafetensors;
  readonly writeGguf: typeof writeGguf;
  readonly writeSafetensors: typeof writeSafetensors;
}

export interface FuzzResult {
  readonly format: string;
  readonly cases: number;
  readonly opened: number;
  readonly refused: number;
  readonly kinds: number;
  readonly slowestMs: number;
  readonly largestShare: number;
}

export function fuzzHeaders(library: FuzzLibrary, options: { cases: number; seed: number }): FuzzResult[];
